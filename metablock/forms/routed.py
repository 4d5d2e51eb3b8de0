"""Keys selected by content: each region of a map chooses the regions that it attends to."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.context import Routed
from ..lowering.ir import ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def routed(t: Tracer, x: ValueTree, *, top: int, regions: int | list[int] = 7) -> ValueTree:
    """In ``over=`` of attention: each region of the map attends to the ``top`` regions that match it best.

    Two regions match by the product of their mean query and mean key, all heads together. The choice has no gradient.

    Args:
        top: number of regions that a region attends to.
        regions: number of regions along each axis, one number or one an axis; they divide the map.

    Returns:
        What enters, on its grid; the attention around selects its keys.

    Raises:
        SpecError: outside ``over=`` of attention; regions that do not divide the map; more regions chosen than there are.

    Bi-level routing attention of BiFormer, Zhu et al. 2023, Sec. 3.2 (arXiv 2303.08810).

    >>> shape_of("attention(4, over=routed(4, regions=7))", "64x14x14")
    'tokens 14x14 x 64'
    """
    selections = t.now.selections
    if selections is None:
        raise error("`routed` is not where attention's keys come from", hint="write `attention(heads, over=routed(4))`")
    value = t.ir.cast(single(x), "grid")
    grid = value.feature.grid
    counts = (regions,) * len(grid) if isinstance(regions, int) else tuple(regions)
    if len(counts) != len(grid) or min(counts) < 1:
        axes = f"{len(grid)} ax{'e' if len(grid) > 1 else 'i'}s"
        raise error(f"{regions} regions on {axes}", hint="one number from 1, or one an axis")
    if any(g % n for g, n in zip(grid, counts, strict=True)):
        shown = ["x".join(map(str, numbers)) for numbers in (counts, grid)]
        raise error(f"{shown[0]} regions do not divide a map of {shown[1]}", hint="choose another number, or `resize` the map")
    many = prod(counts)
    if not 1 <= top <= many:
        raise error(f"the best {top} of {many} regions", hint=f"a number from 1 to {many}")
    result = t.ir.inline("{0}", [value], value.feature)
    selections[result.id] = Routed(counts, top, tuple(g // n for g, n in zip(grid, counts, strict=True)))
    return result
