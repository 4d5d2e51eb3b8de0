"""Constants of positions: coordinates and waves along them, computed from the extents of what arrives. No parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import error
from ..lowering.arguments import Expr
from ..lowering.ir import Value, ValueTree, flat_values, single
from ..lowering.layouts import check_channels
from .padding import valid_share

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def coordinates(t: Tracer, x: ValueTree, *, kind: str = "index", reverse: bool = False, valid: Expr | None = None) -> ValueTree:
    """The coordinates of each position, a channel an axis: ``(b, *grid, c) -> (b, *grid, rank)``.

    No parameter and no entry of a state dict: computed from the extents that arrive. A prefix token has no place: it gets zeros.
    ``id || coordinates("signed")`` is what CoordConv convolves (Liu et al. 2018, arXiv 1807.03247).

    Args:
        kind: on an axis of ``n`` positions: ``"index"``: 0 ... n - 1. ``"unit"``: 0 ... 1. ``"signed"``: -1 ... 1, the first and
            the last position. ``"centers"``: (i + 0.5) / n, the middles of cells. ``"signed_centers"``: these from -1 to 1.
        reverse: whether the last axis comes first: x before y.
        valid: for ``"centers"``: a mask on the same grid, a channel, 1 where the picture is: ``n`` counts what is valid on the
            first line along the axis. In the padding behind coordinates are above 1.

    Returns:
        The grid and prefix that enter; a sequence has one axis.

    Raises:
        SpecError: another word for ``kind``; a vector arrives; a mask on another grid, or with another kind.

    >>> shape_of("coordinates", "64x14x14")
    'tokens 14x14 x 2'
    """
    places = _on_grid(t, x, "coordinates", "waves.Coordinates", kind=kind)
    if reverse:
        places = t.ir.inline("{0}.flip(-1)", [places], places.feature)
    mask = None if valid is None else t.apply(valid, x)
    if valid is None or mask is None:
        return places
    mask = t.ir.cast(single(mask), "grid")
    if kind != "centers" or (mask.c, mask.feature.grid, places.feature.prefix) != (1, places.feature.grid, 0):
        hint = 'write `coordinates("centers", valid=mask)`, with a channel on the same grid'
        raise error(f'"{kind}" of {places.feature} on a mask, {mask.feature}', valid.span, hint)
    share = valid_share(t, mask, reverse)
    return t.ir.binary("*", places, t.ir.inline("{0}.reciprocal()", [share], share.feature))


def sine(
    t: Tracer,
    x: ValueTree,
    *,
    out: int | None = None,
    temperature: float = 10000.0,
    order: str = "axis wave band",
    start: float = 0.0,
    normalize: bool = False,
    reverse: bool = False,
    shift: float = 0.0,
    valid: Expr | None = None,
    of: Expr | None = None,
) -> ValueTree:
    """Sines and cosines of positions, ``(b, *grid, out)``: ``sin(p / temperature ** (k / bands))``, and the cosine.

    ``id + sine`` adds the table of a ViT that learns none. Each axis has ``bands = out / (2 rank)`` frequencies, k = 0 ... . No
    parameter and no entry of a state dict: computed for the size that arrives. A prefix token has no place: it gets zeros.

    Args:
        out: number of channels, a multiple of twice the number of axes; by default the width that arrives.
        temperature: the base of the frequencies.
        order: how channels are ordered, from the slowest to the fastest of axis, wave (sine, cosine) and band (frequency).
        start: the first position.
        normalize: whether positions are divided by the last one (plus 1e-6) and multiplied by 2 pi.
        reverse: whether the last axis comes first.
        shift: is added to the positions before they are divided, but not to the last one: Deformable DETR's -0.5.
        valid: a mask on the same grid, a channel, 1 where the picture is: positions count only what is valid in their line, and
            the last one that they are divided by is that of the line.
        of: numbers, channel by channel, in place of positions: ``sine(512, of=boxes)``; the default of `out` is their width.

    MoCo v3 (arXiv 2104.02057): the defaults; MAE (arXiv 2111.06377): ``reverse=true``. timm's ``build_sincos2d_pos_embed``:
    ``order="wave axis band"``. Vaswani et al. 2017, Sec. 3.5 (arXiv 1706.03762), of a sequence: ``order="axis band wave"``. DETR
    (arXiv 2005.12872): that order with ``start=1, normalize=true``, which XCiT (arXiv 2106.09681) calls Fourier features and
    follows by ``linear(c)``.

    Returns:
        The grid and prefix that enter; a sequence has one axis.

    Raises:
        SpecError: ``out`` is no such multiple; another word for ``order``; a vector arrives; a mask on another grid;
            what concerns positions beside ``of``.

    >>> shape_of("id + sine", "64x14x14")
    'map 64 x 14x14'
    >>> shape_of("sine(256, of=linear(4))", "64x14x14")
    'tokens 14x14 x 256'
    """
    options: dict[str, Any] = {"temperature": temperature, "order": order, "reverse": reverse}
    if of is not None:
        if valid is not None or normalize or start or shift:
            raise error("`of=` takes numbers as they are", of.span, "`start`, `shift`, `normalize` and `valid` are of positions")
        numbers = single(t.apply(of, x))
        return t.ir.call("sine_of.SineOf", "sine", [numbers], out=numbers.c if out is None else out, **options)
    options |= {"start": start, "normalize": normalize, "shift": shift}
    if valid is None:
        return _on_grid(t, x, "sine", "waves.Sine", out=out, **options)
    value = next(flat_values(x), None)
    mask = t.apply(valid, x)
    if value is None or mask is None:
        raise error("`sine` of what is absent", valid.span, "leave out `valid=` where there is no mask")
    value, mask = t.ir.cast(value, "grid"), t.ir.cast(single(mask), "grid")
    return t.ir.call("sine_of.SineOfValid", "sine", [value, mask], out=value.c if out is None else out, **options)


def fourier(
    t: Tracer,
    x: ValueTree,
    *,
    out: int | None = None,
    resolution: float = 224.0,
    spacing: str = "linear",
    order: str = "wave band axis",
    reverse: bool = False,
) -> ValueTree:
    """Fourier features of positions, ``(b, *grid, out)``: ``sin(pi f p)``, and the cosine, of coordinates ``p`` in -1 ... 1.

    Unlike those of :func:`sine`, their wavelengths are parts of the image, whatever its size. No parameter and no entry of a
    state dict. A prefix token has no place: it gets zeros.

    Args:
        out: number of channels, a multiple of twice the number of axes; by default the width that arrives. Each axis has
            ``out / (2 rank)`` frequencies ``f``.
        resolution: twice the highest frequency; they begin at 1.
        spacing: of the frequencies: ``"linear"``, or ``"log"``, powers (NeRF, arXiv 2003.08934).
        order: how channels are ordered, from the slowest to the fastest of axis, wave (sine, cosine) and band (frequency).
        reverse: whether the last axis comes first.

    Perceiver, Jaegle et al. 2021, Sec. 3.2 (arXiv 2103.03206). timm's ``FourierEmbed`` of an input: ``id ||
    coordinates("signed") || fourier(256)``.

    Returns:
        The grid and prefix that enter; a sequence has one axis.

    Raises:
        SpecError: ``out`` is no such multiple; another word for ``order`` or ``spacing``; a vector arrives.

    >>> shape_of('id || coordinates("signed") || fourier(128)', "3x14x14")
    'map 133 x 14x14'
    """
    options = {"resolution": resolution, "spacing": spacing, "order": order, "reverse": reverse}
    return _on_grid(t, x, "fourier", "waves.Fourier", out=out, **options)


def _on_grid(t: Tracer, x: ValueTree, name: str, operator: str, **args: Any) -> Value:
    """A constant on the grid of what arrives: of a list, of its first member. Prefix tokens get zeros."""
    value = next(flat_values(x), None)
    if value is None:
        raise error(f"nothing arrives that `{name}` could take the extents from", hint=f"start from a wire: `x >> {name}`")
    if "out" in args and args["out"] is None:
        args["out"] = value.c
    f = value.feature
    check_channels(f)
    if f.layout not in ("map", "grid", "tokens"):
        raise error(f"`{name}` needs positions, this is {f}", hint="use it before `global_pool`, `take` or `flatten`")
    if not f.prefix:
        return t.ir.call(operator, name, [value], **args)
    tokens = t.ir.cast(t.ir.take_tokens(value, f.prefix, f.n, grid=f.grid), "grid")
    constant = t.ir.cast(t.ir.call(operator, name, [tokens], **args), "tokens")
    template = f"torch.cat([{{0}}.new_zeros(({{0}}.shape[0], {f.prefix}, {constant.c})), {{0}}], dim=1)"
    return t.ir.inline(template, [constant], constant.feature.with_(prefix=f.prefix))
