"""Keys selected by place: the neighbours of each query, or what stands before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.context import Near, Past
from ..lowering.ir import ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

_BORDERS = ("mask", "zeros", "cut", "clamp")


def near(
    t: Tracer, x: ValueTree, *, size: int | list[int], border: str = "mask", dilation: int = 1, side: str = "both"
) -> ValueTree:
    """In ``over=`` of attention: each query attends to the ``size`` tokens an axis around it, ``dilation`` apart.

    Args:
        size: extents of the neighbourhood, one odd number or one an axis; with ``side="past"`` any number.
        border: what stands beyond the map: nothing (``"mask"``, TransNeXt, arXiv 2311.17132), or zeros that take part
            (``"zeros"``, DilateFormer, arXiv 2302.01791), those apart that no query of so small a map ever reaches (``"cut"``,
            the decoder of DynamicConv, arXiv 1901.10430); or the neighbourhood moves inside the map (``"clamp"``, NAT, arXiv
            2204.07143).
        dilation: distance between neighbours; 1 for ``"clamp"``.
        side: ``"both"``: the query stands in the middle. ``"past"``: it is the last on each axis, so that the ``size`` tokens of
            a sequence end at it, and on a map those of the rows and columns up to its own.

    Returns:
        What enters, on its grid; the attention around selects its keys.

    Raises:
        SpecError: outside ``over=`` of attention; an even size around the query; with ``"clamp"`` a neighbourhood larger than the
            map, or one that ends at the query.

    >>> shape_of("attention(4, over=near(3), pos=relative_bias)", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("attention(4, over=[near(3), adaptive_avg_pool(7)])", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of('attention(4, over=near(4, side="past"))', "tokens 14 x 64")
    'tokens 14 x 64'
    """
    selections = t.now.selections
    if selections is None:
        raise error("`near` is not where attention's keys come from", hint="write `attention(heads, over=near(3))`")
    value = t.ir.cast(single(x), "grid")
    grid = value.feature.grid
    sizes = (size,) * len(grid) if isinstance(size, int) else tuple(size)
    if side not in ("both", "past"):
        raise error(f'unknown side "{side}"', hint='"both" or "past"')
    odd = side == "both"
    if len(sizes) != len(grid) or any(s < 1 or (odd and s % 2 == 0) for s in sizes):
        axes = f"{len(grid)} ax{'e' if len(grid) > 1 else 'i'}s"
        raise error(f"a neighbourhood of {size} on {axes}", hint=f"one {'odd ' if odd else ''}number, or one an axis")
    if border not in _BORDERS:
        raise error(f'unknown border "{border}"', hint='"mask", "zeros", "cut" or "clamp"')
    if border == "clamp" and not odd:
        raise error('the border "clamp" of the past: moved inside, it reaches ahead', hint='choose the border "mask"')
    if dilation < 1 or (border == "clamp" and dilation > 1):
        raise error(f"a dilation of {dilation}", hint='at least 1, and 1 for the border "clamp"')
    if border == "clamp" and any(s > g for s, g in zip(sizes, grid, strict=True)):
        shape = "x".join(map(str, sizes))
        raise error(f"a neighbourhood of {shape} does not fit {value.feature}", hint='choose the border "mask"')
    result = t.ir.inline("{0}", [value], value.feature)
    selections[result.id] = Near(sizes, border, dilation, side, value.id)
    return result


def past(t: Tracer, x: ValueTree) -> ValueTree:
    """In ``over=`` of attention: each query attends to itself and to what stands before it, causal attention.

    The order is that of the tokens: of a map row by row, prefix tokens first.

    Returns:
        What enters; the attention around selects its keys.

    Raises:
        SpecError: outside ``over=`` of attention.

    Decoders of Vaswani et al. 2017, Sec. 3.2.3 (arXiv 1706.03762); Image GPT, Chen et al. 2020.

    >>> shape_of("attention(4, over=past)", "tokens 14 x 64")
    'tokens 14 x 64'
    """
    selections = t.now.selections
    if selections is None:
        raise error("`past` is not where attention's keys come from", hint="write `attention(heads, over=past)`")
    value = t.ir.cast(single(x), "grid", "tokens")
    result = t.ir.inline("{0}", [value], value.feature)
    selections[result.id] = Past(value.id)
    return result
