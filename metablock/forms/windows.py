"""Windows and dilated grids: expressions that see a part of the map as an image of its own."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr
from ..lowering.context import ShiftedWindow
from ..lowering.ir import Value, ValueTree, single
from ..lowering.layouts import dropped
from ..operators.extents import sides, slide
from ..shape import Feature

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
    dilated: bool = False,
) -> ValueTree:
    """Applies ``a`` to each window of ``size`` tokens as to an image of its own: ``(b * windows, *size, c)``, and back.

    Along an axis that a window covers it is not shifted, and, unless ``fit="pad"``, shrinks to the map, as Swin's do. (Each axis
    separately, as in timm; in the official code the shorter side decides for both. On square maps that is the same.)

    Args:
        size: extents of a window, one number or one an axis.
        a: the expression; it has to keep the window's extents.
        shift: by how many tokens the map is rolled before, and rolled back afterwards. Attention inside adds -100 to the logits
            of tokens that were no neighbours before the roll, if its queries and keys are the tokens of the window.
        fit: if windows do not divide the map: ``"exact"`` is an error; ``"pad"`` and ``"shrink"`` add zeros at the end of each
            axis after the roll. They take part and are cut off afterwards. The mask is the padded map's, as in timm: its last
            regions are counted from the padded end, and zeros are not masked. On a map smaller than a window ``"pad"`` fills
            one window up (Twins, DaViT), ``"shrink"`` makes the window smaller (Swin, EfficientViT), and so does ``"exact"``.
        stride: distance between windows, which may overlap; the map gets ``ceil((size - stride) / 2)`` zeros on each side, and
            the outputs are summed (unfold and fold of VOLO, arXiv 2106.13112). Not with ``shift`` or ``fit``.
        dilated: the tokens of a window stand as far apart as the map allows, so that each window spans the map: grid attention
            (MaxViT, arXiv 2204.01697; Shuffle Transformer, arXiv 2106.03650). Not with ``shift`` or ``stride``.

    Returns:
        Tokens on the grid that enters.

    Raises:
        SpecError: windows that do not divide the map; a shift of a whole window or more; ``a`` changes the extents.

    Swin, Liu et al. 2021, Sec. 3.2 (arXiv 2103.14030).

    >>> shape_of("window(7, attention(4), shift=3)", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of('window(8, attention(4) >> linear(32), fit="pad")', "64x14x14")
    'tokens 14x14 x 32'
    >>> shape_of("window(7, attention(4), dilated=true)", "64x28x28")
    'tokens 28x28 x 64'
    """
    if a is None:
        return None
    whole = t.ir.cast(single(x), "grid")
    f = whole.feature
    _check_fit(fit, ("exact", "pad", "shrink"))
    if dilated and (stride is not None or shift != 0):
        raise error("dilated windows are neither shifted nor overlapping", hint="leave out `shift=` and `stride=`, or `dilated=`")
    if stride is not None:
        if shift != 0 or fit != "exact":
            raise error("windows with a `stride=` are not shifted or fitted", hint="leave out `shift=` and `fit=`, or `stride=`")
        return _overlapping(t, whole, a, _numbers(size, f, "window"), _numbers(stride, f, "stride"))
    sizes, shifts = _within_map(f, size, shift, shrink=fit != "pad")
    padded = _multiple(f.grid, sizes)
    if padded != f.grid and fit == "exact":
        hint = '`fit="pad"` or `"shrink"` fills the map up with zeros; or choose another size'
        raise error(f"windows of {_by(sizes)} do not divide a map of {_by(f.grid)}", hint=hint)
    whole = _roll(t, whole, tuple(-s for s in shifts))
    inside = _cut(t, _pad(t, whole, padded), _over(padded, sizes), sizes, phases=dilated)
    with t.context.push(window=ShiftedWindow(padded, sizes, shifts) if any(shifts) else None):
        value = t.apply(a, inside)
    if value is None:
        return None
    result = _inside(t, value, inside, "windows", "what is inside a window keeps its extents")
    return _roll(t, _crop(t, _join(t, result, phases=dilated), f.grid), shifts)


def dilated(t: Tracer, x: ValueTree, *, rate: int | list[int], a: Expr, fit: str = "exact") -> ValueTree:
    """Applies ``a`` to each grid of every ``rate``-th token: ``(b * prod(rate), *grid / rate, c)``, and back.

    MaxViT's grid attention (arXiv 2204.01697) is this with the map's extents divided by its grid as rate.

    Args:
        rate: distance between the tokens of a grid, one number or one an axis.
        a: the expression; it has to keep the extents.
        fit: if the rate does not divide the map: ``"exact"`` is an error; ``"pad"`` adds zeros at the end of each axis, which
            take part and are cut off afterwards; ``"resize"`` interpolates linearly to the next multiple, and back.

    Returns:
        Tokens on the grid that enters.

    Raises:
        SpecError: a rate that does not divide the map; ``a`` changes the extents.

    Unfolding of MobileViT, Mehta and Rastegari 2022 (arXiv 2110.02178), with ``rate=2`` and ``fit="resize"``.

    >>> shape_of("dilated(2, attention(4))", "64x14x14")
    'tokens 14x14 x 64'
    """
    if a is None:
        return None
    whole = t.ir.cast(single(x), "grid")
    f = whole.feature
    _check_fit(fit, ("exact", "pad", "resize"))
    rates = _numbers(rate, f, "rate")
    full = _multiple(f.grid, rates)
    if full != f.grid and fit == "exact":
        hint = '`fit="pad"` fills the map up with zeros, `fit="resize"` interpolates; or choose another rate'
        raise error(f"a rate of {_by(rates)} does not divide a map of {_by(f.grid)}", hint=hint)
    whole = _resize(t, whole, full) if fit == "resize" else _pad(t, whole, full)
    inside = _cut(t, whole, rates, _over(full, rates), phases=True)
    value = t.apply(a, inside)
    if value is None:
        return None
    result = _inside(t, value, inside, "dilated grids", "what is inside `dilated` keeps its extents")
    whole = _join(t, result, phases=True)
    return _resize(t, whole, f.grid) if fit == "resize" else _crop(t, whole, f.grid)


def windows(t: Tracer, x: ValueTree, *, size: int | list[int], stride: int | list[int] | None = None) -> ValueTree:
    """Divides the map into windows, each an image of its own until ``merge``: ``(b, *grid, c) -> (b * windows, *size, c)``.

    A value from outside that meets one of them is repeated for each window of its image.

    Args:
        size: extents of a window, one number or one an axis.
        stride: distance between windows, by default ``size``: smaller windows overlap (STViT, arXiv 2303.08685).

    Returns:
        Tokens on the grid of a window.

    Raises:
        SpecError: the windows do not cover the map exactly.

    >>> shape_of("windows(7)", "64x14x14")
    'tokens 7x7 x 64 in 4 windows'
    """
    value = t.ir.cast(single(x), "grid")
    f = value.feature
    sizes = _numbers(size, f, "window")
    steps = sizes if stride is None else _numbers(stride, f, "stride")
    if any(g < s or (g - s) % d or d > s for g, s, d in zip(f.grid, sizes, steps, strict=True)):
        apart = f", {_by(steps)} apart," if stride is not None else ""
        hint = "choose another size, or `resize` the map"
        raise error(f"windows of {_by(sizes)}{apart} do not cover a map of {_by(f.grid)}", hint=hint)
    if steps == sizes:
        return _cut(t, value, _over(f.grid, sizes), sizes)
    return _slide(t, value, sizes, steps)


def merge(t: Tracer, x: ValueTree) -> ValueTree:
    """Puts the windows of ``windows`` side by side: ``(b * windows, *size, c) -> (b, *windows * size, c)``.

    Windows may have other extents by now. A vector becomes one token of its window.

    Raises:
        SpecError: there are no windows; a window has lost an axis.

    >>> shape_of("windows(7) >> conv(128, 3, stride=2) >> merge", "64x14x14")
    'tokens 8x8 x 128'
    >>> shape_of("windows(7) >> global_pool >> merge", "64x14x14")
    'tokens 2x2 x 64'
    """
    value = single(x)
    f = value.feature
    if not f.around:
        raise error("there are no windows to merge", hint="write `windows(7) >> ... >> merge`")
    if f.layout == "vector":
        counts = f.around[-1]
        text = f"{{0}}.unflatten(0, {(-1, *counts)})"
        return t.ir.inline(text, [value], f.with_(layout="grid", grid=counts, around=f.around[:-1]))
    value = t.ir.cast(value, "grid")
    if value.feature.rank != len(f.around[-1]):
        hint = "what is in a window must keep its number of axes" + dropped(f)
        raise error(f"{_by(f.around[-1])} windows of {f} cannot be merged", hint=hint)
    return _join(t, value)


def _within_map(f: Feature, size: int | list[int], shift: int | list[int], shrink: bool) -> tuple[Extents, Extents]:
    """Window extents and shifts along each axis: a window that covers an axis is not shifted, and may shrink to it."""
    grid, wanted = f.grid, _numbers(size, f, "window")
    moved = [shift] * len(grid) if isinstance(shift, int) else shift
    if len(moved) != len(grid) or any(not 0 <= s < w for s, w in zip(moved, wanted, strict=True)):
        raise error(f"a shift of {shift} for windows of {size}", hint="one number, or one an axis, smaller than the window")
    sizes = tuple(min(w, g) for w, g in zip(wanted, grid, strict=True)) if shrink else wanted
    return sizes, tuple(0 if g <= w else s for s, w, g in zip(moved, wanted, grid, strict=True))


def _roll(t: Tracer, value: Value, shifts: Extents) -> Value:
    """The map, rolled by so many tokens along each axis."""
    if not any(shifts):
        return value
    axes = tuple(range(1, value.feature.rank + 1))
    return t.ir.inline(f"{{0}}.roll({shifts}, {axes})", [value], value.feature)


def _check_fit(fit: str, known: tuple[str, ...]) -> None:
    """Raises SpecError for an unknown word."""
    if fit not in known:
        raise error(f'unknown fit "{fit}"', hint=" or ".join(f'"{word}"' for word in known))


def _numbers(value: int | list[int], f: Feature, what: str) -> Extents:
    """One number for each axis of a feature. Raises SpecError for too many or too few, or for one below 1."""
    numbers = (value,) * f.rank if isinstance(value, int) else tuple(value)
    if len(numbers) != f.rank or min(numbers) < 1:
        hint = "one number from 1, or one an axis" + dropped(f) * (len(numbers) != f.rank)
        raise error(f"a {what} of {value} on {f.rank} ax{'e' if f.rank > 1 else 'i'}s", hint=hint)
    return numbers


def _by(numbers: Extents) -> str:
    """Extents as messages write them: ``7x7``."""
    return "x".join(map(str, numbers))


def _list(numbers: Extents | list[int]) -> str:
    """Numbers as code writes them: ``7, 7``."""
    return ", ".join(map(str, numbers))


def _over(grid: Extents, sizes: Extents) -> Extents:
    """The number of windows along each axis."""
    return tuple(g // s for g, s in zip(grid, sizes, strict=True))


def _multiple(grid: Extents, sizes: Extents) -> Extents:
    """The next larger extents that these sizes divide."""
    return tuple(-(-g // s) * s for g, s in zip(grid, sizes, strict=True))


def _inside(t: Tracer, value: ValueTree, inside: Value, what: str, hint: str) -> Value:
    """The output of ``a`` for each window. Raises SpecError if it has other windows or extents than what entered."""
    result, like = t.ir.together(t.ir.cast(single(value), "grid"), inside)
    f, size = result.feature, inside.feature
    if like is not inside:
        raise error(f"{what} come back in {prod(f.around[-1])} windows of their own", hint="end what is inside with `merge`")
    if f.grid != size.grid:
        raise error(f"{what} of {_by(size.grid)} come back as {f}", hint=hint + dropped(f))
    return result


def _pad(t: Tracer, value: Value, grid: Extents) -> Value:
    """Zeros at the end of each axis, up to these extents."""
    f = value.feature
    if grid == f.grid:
        return value
    ends = [n for g, old in zip(reversed(grid), reversed(f.grid), strict=True) for n in (0, g - old)]
    return t.ir.inline(f"F.pad({{0}}, {[0, 0, *ends]})", [value], f.with_(grid=grid))


def _crop(t: Tracer, value: Value, grid: Extents) -> Value:
    """The first tokens of each axis, as many as these extents."""
    f = value.feature
    if grid == f.grid:
        return value
    return t.ir.inline(f"{{0}}[:, {', '.join(f':{g}' for g in grid)}]", [value], f.with_(grid=grid))


def _resize(t: Tracer, value: Value, grid: Extents) -> Value:
    """Linear interpolation to these extents; corners do not align."""
    if grid == value.feature.grid:
        return value
    value = t.ir.cast(value, "map")
    text = f'F.interpolate({{0}}, {grid}, mode="{_LINEAR[len(grid)]}")'
    return t.ir.cast(t.ir.inline(text, [value], value.feature.with_(grid=grid)), "grid")


def _slide(t: Tracer, value: Value, sizes: Extents, steps: Extents) -> Value:
    """Windows ``steps`` apart, row by row; they may overlap."""
    f = value.feature
    counts = tuple((g - s) // d + 1 for g, s, d in zip(f.grid, sizes, steps, strict=True))
    views = "".join(f".unfold({axis + 1}, {s}, {d})" for axis, (s, d) in enumerate(zip(sizes, steps, strict=True)))
    order = [*range(f.rank + 1), *range(f.rank + 2, 2 * f.rank + 2), f.rank + 1]
    text = f"{{0}}{views}.permute({_list(order)}).flatten(0, {f.rank})"
    return t.ir.inline(text, [value], f.with_(grid=sizes, around=(*f.around, counts)))


def _overlapping(t: Tracer, whole: Value, a: Expr, sizes: Extents, steps: Extents) -> ValueTree:
    """Applies ``a`` in windows ``steps`` apart, with zeros around the map, and sums the outputs."""
    f = whole.feature
    counts, pads = slide(f.grid, sizes, steps), sides(None, sizes, steps, (1,) * f.rank)
    if any(pads):
        around = [p for p in reversed(pads) for _ in range(2)]
        wider = tuple(g + 2 * p for g, p in zip(f.grid, pads, strict=True))
        whole = t.ir.inline(f"F.pad({{0}}, {[0, 0, *around]})", [whole], f.with_(grid=wider))
    inside = _slide(t, whole, sizes, steps)
    value = t.apply(a, inside)
    if value is None:
        return None
    result = _inside(t, value, inside, "windows", "what is inside a window keeps its extents")
    arguments = {"counts": list(counts), "stride": list(steps), "padding": list(pads)}
    return t.ir.call("overlap.Overlap", "overlap", [result], f.with_(c=result.c), grid=f.grid, **arguments)


def _cut(t: Tracer, value: Value, counts: Extents, sizes: Extents, phases: bool = False) -> Value:
    """``(b, g1, g2, c) -> (b * n1 * n2, s1, s2, c)``: windows row by row; with ``phases`` the grids of every n-th token."""
    f = value.feature
    rank = f.rank
    # Axis by axis, and from the last on: an axis that is of another extent cannot be cut, whatever the others are.
    cut = "".join(f".unflatten({axis + 1}, {(s, n) if phases else (n, s)})" for axis, n, s in _last_first(counts, sizes))
    first, second = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    order = [0, *(second if phases else first), *(first if phases else second), 2 * rank + 1]
    text = f"{{0}}{cut}.permute({_list(order)}).flatten(0, {rank})"
    return t.ir.inline(text, [value], f.with_(grid=sizes, around=(*f.around, counts)))


def _join(t: Tracer, value: Value, phases: bool = False) -> Value:
    """The inverse of ``_cut``. Extents and width may have changed."""
    f = value.feature
    rank, counts = f.rank, f.around[-1]
    pairs = [(1 + i, 1 + rank + i) for i in range(rank)]
    order = [0, *[axis for pair in pairs for axis in (reversed(pair) if phases else pair)], 2 * rank + 1]
    grid = tuple(n * s for n, s in zip(counts, f.grid, strict=True))
    joined = "".join(f".flatten({axis + 1}, {axis + 2})" for axis, _, _ in _last_first(counts, f.grid, apart=2))
    text = f"{{0}}.unflatten(0, {(-1, *counts)}).permute({_list(order)}){joined}"
    return t.ir.inline(text, [value], f.with_(grid=grid, around=f.around[:-1]))


def _last_first(counts: Extents, sizes: Extents, apart: int = 1) -> list[tuple[int, int, int]]:
    """Each axis (``apart`` from the one before) with its number of windows and their extent, the last axis first."""
    return [(apart * i, n, s) for i, (n, s) in reversed(list(enumerate(zip(counts, sizes, strict=True))))]
