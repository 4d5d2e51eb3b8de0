"""Windows: what is inside sees one window, or one of the grids of a dilation, at a time, as if it were an image of its own."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr
from ..lowering.context import ShiftedWindow
from ..lowering.ir import Value, ValueTree, single
from ..operators.extents import sides, slide

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

Extents = tuple[int, ...]
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def window(
    t: Tracer,
    x: ValueTree,
    *,
    size: int | list[int],
    a: Expr,
    shift: int | list[int] = 0,
    fit: str = "exact",
    stride: int | list[int] | None = None,
) -> ValueTree:
    """``a`` within non-overlapping windows of ``size`` tokens an axis (Swin, arXiv 2103.14030).

    Along an axis that it covers a window shrinks to the map and is not shifted. (Each axis for itself, as in timm; the
    official code lets the shorter side decide for both. On square maps that is the same.) ``shift`` rolls the map before
    and back afterwards; attention inside masks pairs that were not neighbours (with -100, as the official code), if its
    queries and keys are the tokens of the window.

    Where the window does not divide the map: an error, or with ``fit="pad"`` zeros at the end of each axis, after the
    roll, which take part and are cut off afterwards. The mask is then the padded map's, as in timm: its last regions are
    counted from the padded end, and the zeros are not masked.

    With ``stride`` windows are that far apart, with ``ceil((size - stride) / 2)`` zeros around the map, and what they give is
    added up where they overlap (VOLO's unfold and fold, arXiv 2106.13112).
    """
    if a is None:
        return None
    wire = t.ir.cast(single(x), "grid")
    f = wire.feature
    _check_fit(fit, ("exact", "pad"))
    if stride is not None:
        if shift != 0 or fit != "exact":
            raise error("windows with a `stride=` are not shifted or fitted", hint="leave out `shift=` and `fit=`, or `stride=`")
        return _overlapping(t, wire, a, _numbers(size, f.rank, "window"), _numbers(stride, f.rank, "stride"))
    wanted = _numbers(size, f.rank, "window")
    moved = [shift] * f.rank if isinstance(shift, int) else shift
    if len(moved) != f.rank or any(not 0 <= s < w for s, w in zip(moved, wanted, strict=True)):
        raise error(f"a shift of {shift} for windows of {size}", hint="one number, or one an axis, smaller than the window")
    sizes = tuple(min(w, g) for w, g in zip(wanted, f.grid, strict=True))
    shifts = tuple(0 if g <= w else s for s, w, g in zip(moved, wanted, f.grid, strict=True))
    padded = _multiple(f.grid, sizes)
    if padded != f.grid and fit == "exact":
        raise error(
            f"windows of {_by(sizes)} do not divide a map of {_by(f.grid)}",
            hint='`fit="pad"` fills the map up with zeros; or choose another size',
        )
    axes = tuple(range(1, f.rank + 1))
    if any(shifts):
        wire = t.ir.inline(f"{{0}}.roll({tuple(-s for s in shifts)}, {axes})", [wire], f)
    inside = _cut(t, _pad(t, wire, padded), _over(padded, sizes), sizes)
    with t.context.push(window=ShiftedWindow(padded, sizes, shifts) if any(shifts) else None):
        value = t.apply(a, inside)
    if value is None:
        return None
    result = _inside(t, value, inside, "windows", "what is inside a window keeps its extents")
    whole = _crop(t, _join(t, result), f.grid)
    if any(shifts):
        whole = t.ir.inline(f"{{0}}.roll({shifts}, {axes})", [whole], whole.feature)
    return whole


def dilated(t: Tracer, x: ValueTree, *, rate: int | list[int], a: Expr, fit: str = "exact") -> ValueTree:
    """``a`` on each of the ``prod(rate)`` grids of every ``rate``-th token: ``(b * prod(rate), *grid / rate, c)``, and back.

    MobileViT (arXiv 2110.02178) attends so, with ``rate=2``; MaxViT's grid attention (arXiv 2204.01697) is the same with the
    extents divided by its grid as rate. Where the rate does not divide the map: an error; with ``fit="pad"`` zeros at the end
    of each axis, which take part and are cut off afterwards; with ``fit="resize"`` linear interpolation to the next multiple,
    and back (MobileViT).
    """
    if a is None:
        return None
    wire = t.ir.cast(single(x), "grid")
    f = wire.feature
    _check_fit(fit, ("exact", "pad", "resize"))
    rates = _numbers(rate, f.rank, "rate")
    full = _multiple(f.grid, rates)
    if full != f.grid and fit == "exact":
        hint = '`fit="pad"` fills the map up with zeros, `fit="resize"` interpolates; or choose another rate'
        raise error(f"a rate of {_by(rates)} does not divide a map of {_by(f.grid)}", hint=hint)
    wire = _resize(t, wire, full) if fit == "resize" else _pad(t, wire, full)
    inside = _cut(t, wire, rates, _over(full, rates), phases=True)
    value = t.apply(a, inside)
    if value is None:
        return None
    result = _inside(t, value, inside, "dilated grids", "what is inside `dilated` keeps its extents")
    whole = _join(t, result, phases=True)
    return _resize(t, whole, f.grid) if fit == "resize" else _crop(t, whole, f.grid)


def windows(t: Tracer, x: ValueTree, *, size: int | list[int], stride: int | list[int] | None = None) -> ValueTree:
    """Each window as an image of its own, until ``merge``: ``(b, *grid, c) -> (b * windows, *size, c)``.

    Side by side, or ``stride`` apart, so that they overlap (STViT, arXiv 2303.08685); they end where the map ends. Wires from
    outside that meet them are repeated for each window of their image.
    """
    value = t.ir.cast(single(x), "grid")
    f = value.feature
    sizes = _numbers(size, f.rank, "window")
    steps = sizes if stride is None else _numbers(stride, f.rank, "stride")
    if any(g < s or (g - s) % d or d > s for g, s, d in zip(f.grid, sizes, steps, strict=True)):
        apart = f", {_by(steps)} apart," if stride is not None else ""
        hint = "choose another size, or `resize` the map"
        raise error(f"windows of {_by(sizes)}{apart} do not cover a map of {_by(f.grid)}", hint=hint)
    if steps == sizes:
        return _cut(t, value, _over(f.grid, sizes), sizes)
    return _slide(t, value, sizes, steps)


def merge(t: Tracer, x: ValueTree) -> ValueTree:
    """The windows of ``windows`` side by side again, whatever extents each has by now; a vector is one token of its window:
    ``(b * windows, *size, c) -> (b, *windows * size, c)``.
    """
    value = single(x)
    f = value.feature
    if not f.around:
        raise error("there are no windows to merge", hint="write `windows(7) >> ... >> merge`")
    if f.layout == "vector":
        counts = f.around[-1]
        text = f"{{0}}.reshape(-1, {_list(counts)}, {f.c})"
        return t.ir.inline(text, [value], f.with_(layout="grid", grid=counts, around=f.around[:-1]))
    value = t.ir.cast(value, "grid")
    if value.feature.rank != len(f.around[-1]):
        hint = "what is in a window must keep its number of axes"
        raise error(f"{_by(f.around[-1])} windows of {f} cannot be merged", hint=hint)
    return _join(t, value)


def _check_fit(fit: str, known: tuple[str, ...]) -> None:
    if fit not in known:
        raise error(f'unknown fit "{fit}"', hint=" or ".join(f'"{word}"' for word in known))


def _numbers(value: int | list[int], rank: int, what: str) -> Extents:
    """One number for all axes, or one an axis."""
    numbers = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(numbers) != rank or min(numbers) < 1:
        raise error(f"a {what} of {value} on {rank} ax{'e' if rank > 1 else 'i'}s", hint="one number from 1, or one an axis")
    return numbers


def _by(numbers: Extents) -> str:
    return "x".join(map(str, numbers))


def _list(numbers: Extents | list[int]) -> str:
    return ", ".join(map(str, numbers))


def _over(grid: Extents, sizes: Extents) -> Extents:
    return tuple(g // s for g, s in zip(grid, sizes, strict=True))


def _multiple(grid: Extents, sizes: Extents) -> Extents:
    """The next extents that these sizes divide."""
    return tuple(-(-g // s) * s for g, s in zip(grid, sizes, strict=True))


def _inside(t: Tracer, value: ValueTree, inside: Value, what: str, hint: str) -> Value:
    """What came of the windows, once a window and with their extents."""
    result, like = t.ir.together(t.ir.cast(single(value), "grid"), inside)
    f, size = result.feature, inside.feature
    if like is not inside:
        raise error(f"{what} come back in {prod(f.around[-1])} windows of their own", hint="end what is inside with `merge`")
    if f.grid != size.grid:
        raise error(f"{what} of {_by(size.grid)} come back as {f}", hint=hint)
    return result


def _pad(t: Tracer, value: Value, grid: Extents) -> Value:
    """Zeros at the end of each axis, up to these extents."""
    f = value.feature
    if grid == f.grid:
        return value
    ends = [n for g, old in zip(reversed(grid), reversed(f.grid), strict=True) for n in (0, g - old)]
    return t.ir.inline(f"F.pad({{0}}, {[0, 0, *ends]})", [value], f.with_(grid=grid))


def _crop(t: Tracer, value: Value, grid: Extents) -> Value:
    f = value.feature
    if grid == f.grid:
        return value
    return t.ir.inline(f"{{0}}[:, {', '.join(f':{g}' for g in grid)}]", [value], f.with_(grid=grid))


def _resize(t: Tracer, value: Value, grid: Extents) -> Value:
    """Linear interpolation, edges on edges."""
    if grid == value.feature.grid:
        return value
    value = t.ir.cast(value, "map")
    text = f'F.interpolate({{0}}, {grid}, mode="{_LINEAR[len(grid)]}")'
    return t.ir.cast(t.ir.inline(text, [value], value.feature.with_(grid=grid)), "grid")


def _slide(t: Tracer, value: Value, sizes: Extents, steps: Extents) -> Value:
    """Windows that may overlap, row by row."""
    f = value.feature
    counts = tuple((g - s) // d + 1 for g, s, d in zip(f.grid, sizes, steps, strict=True))
    views = "".join(f".unfold({axis + 1}, {s}, {d})" for axis, (s, d) in enumerate(zip(sizes, steps, strict=True)))
    order = [*range(f.rank + 1), *range(f.rank + 2, 2 * f.rank + 2), f.rank + 1]
    text = f"{{0}}{views}.permute({_list(order)}).reshape(-1, {_list(sizes)}, {f.c})"
    return t.ir.inline(text, [value], f.with_(grid=sizes, around=(*f.around, counts)))


def _overlapping(t: Tracer, wire: Value, a: Expr, sizes: Extents, steps: Extents) -> ValueTree:
    """``a`` in windows ``steps`` apart, zeros around the map; added up."""
    f = wire.feature
    counts, pads = slide(f.grid, sizes, steps), sides(None, sizes, steps, (1,) * f.rank)
    if any(pads):
        around = [p for p in reversed(pads) for _ in range(2)]
        wider = tuple(g + 2 * p for g, p in zip(f.grid, pads, strict=True))
        wire = t.ir.inline(f"F.pad({{0}}, {[0, 0, *around]})", [wire], f.with_(grid=wider))
    inside = _slide(t, wire, sizes, steps)
    value = t.apply(a, inside)
    if value is None:
        return None
    result = _inside(t, value, inside, "windows", "what is inside a window keeps its extents")
    arguments = {"counts": list(counts), "stride": list(steps), "padding": list(pads)}
    return t.ir.call("overlap.Overlap", "overlap", [result], f.with_(c=result.c), grid=f.grid, **arguments)


def _cut(t: Tracer, value: Value, counts: Extents, sizes: Extents, phases: bool = False) -> Value:
    """``(b, g1, g2, c) -> (b * n1 * n2, s1, s2, c)``: windows row by row; ``phases``: grids of every n-th token."""
    f = value.feature
    rank = f.rank
    pairs = [(s, n) if phases else (n, s) for n, s in zip(counts, sizes, strict=True)]
    first, second = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    order = [0, *(second if phases else first), *(first if phases else second), 2 * rank + 1]
    cut = _list([n for pair in pairs for n in pair])
    text = f"{{0}}.reshape(-1, {cut}, {f.c}).permute({_list(order)}).reshape(-1, {_list(sizes)}, {f.c})"
    return t.ir.inline(text, [value], f.with_(grid=sizes, around=(*f.around, counts)))


def _join(t: Tracer, value: Value, phases: bool = False) -> Value:
    """The inverse of :func:`_cut`; extents and width may have changed."""
    f = value.feature
    rank, counts = f.rank, f.around[-1]
    pairs = [(1 + i, 1 + rank + i) for i in range(rank)]
    order = [0, *[axis for pair in pairs for axis in (reversed(pair) if phases else pair)], 2 * rank + 1]
    grid = tuple(n * s for n, s in zip(counts, f.grid, strict=True))
    text = f"{{0}}.reshape(-1, {_list((*counts, *f.grid))}, {f.c}).permute({_list(order)}).reshape(-1, {_list(grid)}, {f.c})"
    return t.ir.inline(text, [value], f.with_(grid=grid, around=f.around[:-1]))
