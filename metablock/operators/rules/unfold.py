"""What is known of ``unfold`` without torch."""

from __future__ import annotations

from math import prod

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand, sides, slide
from . import LeafRule

AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}


class UnfoldRule(LeafRule):
    """The rule of :class:`metablock.operators.unfold.Unfold`."""

    takes = ("grid", "map")

    @staticmethod
    def shape(
        x: Feature, *, kernel: Extent, stride: Extent, order: str | None, padding: Extent | str | None, ceil: bool
    ) -> Feature:
        ordered(order, x.rank)
        kernels, strides = expand(kernel, x.rank), expand(stride, x.rank)
        grid = x.grid
        if ceil and not isinstance(padding, str) and min((*kernels, *strides)) > 0:
            pads = sides(padding, kernels, strides, (1,) * x.rank)
            grid = tuple(g + rest for g, rest in zip(grid, missing(grid, kernels, strides, pads), strict=True))
        return x.with_(c=x.c * prod(kernels), grid=slide(grid, kernel, stride, padding))


def missing(grid: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> tuple[int, ...]:
    """Positions that the last window needs beyond the end of each axis."""
    return tuple(max(k - g - 2 * p, -(g + 2 * p - k) % s) for g, k, s, p in zip(grid, kernel, stride, padding, strict=True))


def ordered(order: str | None, rank: int, name: str = "unfold") -> tuple[str, ...]:
    """The names of the axes in ``order``, the slowest first. Raises SpecError for another rank or order."""
    if rank not in AXES:
        raise error(f"{name} works in 1, 2 or 3 dimensions, not in {rank}", hint="tokens or vectors have no windows")
    default = ("c", *AXES[rank])
    names = default if order is None else tuple(order.split())
    if sorted(names) != sorted(default):
        raise error(
            f"an order of '{order}' in {rank} dimension{'s' * (rank > 1)}",
            hint=f'write {", ".join(default)} in any order, the slowest first: "{" ".join(default)}"',
        )
    return names
