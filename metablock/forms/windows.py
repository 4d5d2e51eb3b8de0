"""Windows: what is inside sees one window at a time, as if it were an image of its own."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..arguments import Expr
from ..errors import error
from ..graph import Value, Wire
from ..levels import Mask

if TYPE_CHECKING:
    from ..trace import Tracer


def window(
    t: Tracer, x: Value, *, size: int | list[int], a: Expr, shift: int | list[int] = 0, fit: str = "exact"
) -> Value:
    """``a`` within non-overlapping windows of ``size`` tokens an axis (Swin, arXiv 2103.14030).

    Along an axis that it covers a window shrinks to the map and is not shifted. (Each axis for itself, as in timm; the
    official code lets the shorter side decide for both. On square maps that is the same.) ``shift`` rolls the map before
    and back afterwards; attention inside masks pairs that were not neighbours (with -100, as the official code), if its
    queries and keys are the tokens of the window.

    Where the window does not divide the map: an error, or with ``fit="pad"`` zeros at the end of each axis, after the
    roll, which take part and are cut off afterwards. The mask is then the padded map's, as in timm: its last regions are
    counted from the padded end, and the zeros are not masked.
    """
    if a is None:
        return None
    wire = t.to(t.single(x), "grid")
    f = wire.feature
    if fit not in ("exact", "pad"):
        raise error(f"unknown fit \"{fit}\"", hint='"exact" or "pad"')
    wanted, moved = ([n] * f.rank if isinstance(n, int) else n for n in (size, shift))
    if len(wanted) != f.rank or min(wanted) < 1:
        raise error(f"a window of {size} on {f.rank} axes", hint="one number from 1, or one an axis")
    if len(moved) != f.rank or any(not 0 <= s < w for s, w in zip(moved, wanted, strict=True)):
        raise error(f"a shift of {shift} for windows of {size}", hint="one number, or one an axis, smaller than the window")
    sizes = tuple(min(w, g) for w, g in zip(wanted, f.grid, strict=True))
    shifts = tuple(0 if g <= w else s for s, w, g in zip(moved, wanted, f.grid, strict=True))
    pads = tuple(-g % s for g, s in zip(f.grid, sizes, strict=True))
    if any(pads) and fit == "exact":
        raise error(
            f"windows of {'x'.join(map(str, sizes))} do not divide a map of {'x'.join(map(str, f.grid))}",
            hint='`fit="pad"` fills the map up with zeros; or choose another size',
        )
    axes = tuple(range(1, f.rank + 1))
    if any(shifts):
        wire = t.do(f"{{0}}.roll({tuple(-s for s in shifts)}, {axes})", [wire], f)
    padded = tuple(g + p for g, p in zip(f.grid, pads, strict=True))
    if any(pads):
        ends = [n for p in reversed(pads) for n in (0, p)]
        wire = t.do(f"F.pad({{0}}, {[0, 0, *ends]})", [wire], f.with_(grid=padded))
    counts = tuple(g // s for g, s in zip(padded, sizes, strict=True))
    inside = _partition(t, wire, counts, sizes)
    kept, t.mask = t.mask, Mask(padded, sizes, shifts) if any(shifts) else None
    value = t.apply(a, inside)
    t.mask = kept
    if value is None:
        return None
    result = t.to(t.single(value), "grid")
    if result.feature.grid != sizes:
        shown = "x".join(map(str, sizes))
        raise error(f"windows of {shown} come back as {result.feature}", hint="what is inside a window keeps its extents")
    whole = _merge(t, result, counts, f.windows)
    if any(pads):
        cut = ", ".join(f":{g}" for g in f.grid)
        whole = t.do(f"{{0}}[:, {cut}]", [whole], whole.feature.with_(grid=f.grid))
    if any(shifts):
        whole = t.do(f"{{0}}.roll({shifts}, {axes})", [whole], whole.feature)
    return whole


def _partition(t: Tracer, wire: Wire, counts: tuple[int, ...], sizes: tuple[int, ...]) -> Wire:
    """``(b, g1, g2, c) -> (b * n1 * n2, s1, s2, c)``, windows row by row."""
    f = wire.feature
    rank = f.rank
    order = [0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1]
    cut = ", ".join(f"{n}, {s}" for n, s in zip(counts, sizes, strict=True))
    inner = ", ".join(map(str, sizes))
    text = f"{{0}}.reshape(-1, {cut}, {f.c}).permute({', '.join(map(str, order))}).reshape(-1, {inner}, {f.c})"
    return t.do(text, [wire], f.with_(grid=sizes, windows=f.windows * prod(counts)))


def _merge(t: Tracer, wire: Wire, counts: tuple[int, ...], windows: int) -> Wire:
    """The inverse of :func:`_partition`; the width may have changed."""
    f = wire.feature
    rank = f.rank
    order = [0, *[axis for i in range(rank) for axis in (1 + i, 1 + rank + i)], 2 * rank + 1]
    grid = tuple(n * s for n, s in zip(counts, f.grid, strict=True))
    split = ", ".join(map(str, (*counts, *f.grid)))
    whole = ", ".join(map(str, grid))
    text = f"{{0}}.reshape(-1, {split}, {f.c}).permute({', '.join(map(str, order))}).reshape(-1, {whole}, {f.c})"
    return t.do(text, [wire], f.with_(grid=grid, windows=windows))
