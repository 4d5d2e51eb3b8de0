"""What is known of ``avg_pool`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from ..extents import SMALLER, Extent, expand, sides, slide
from . import LeafRule


class AvgPoolRule(LeafRule):
    """The rule of :class:`metablock.operators.avg_pool.AvgPool`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, kernel: Extent, stride: Extent, padding: Extent | str | None, ceil: bool) -> Feature:
        if x.rank == 3 and any(k > g for k, g in zip(expand(kernel, 3), x.grid, strict=True)):
            raise error(f"{x} is smaller than the window", hint="in 3-D torch averages no window that reaches over both edges")
        if isinstance(padding, str):
            return x.with_(grid=slide(x.grid, kernel, stride, padding))
        return x.with_(grid=pooled(x.grid, kernel, stride, padding, ceil))


def pooled(grid: tuple[int, ...], kernel: Extent, stride: Extent, padding: Extent | None, ceil: bool = False) -> tuple[int, ...]:
    """The grid after pooling. Raises SpecError if the window does not fit, or could lie on padding alone."""
    rank = len(grid)
    kernels, strides = expand(kernel, rank), expand(stride, rank)
    if min(*kernels, *strides) < 1:
        raise error("kernel and stride are at least 1", hint="`1` leaves the extents as they are")
    pads = sides(padding, kernels, strides, (1,) * rank)
    for k, p in zip(kernels, pads, strict=True):
        if not 0 <= p <= k // 2:
            raise error(f"a padding of {p} a side, for a window of {k}", hint="pooling pads by at most half the window")
    if not ceil:
        return slide(grid, kernels, strides, padding)
    result = []
    for g, k, s, p in zip(grid, kernels, strides, pads, strict=True):
        count = (g + 2 * p - k + s - 1) // s + 1
        result.append(count - ((count - 1) * s >= g + p))  # without a window that would lie on the padding at the end
    if min(result) < 1:
        raise error(f"a window of {'x'.join(map(str, kernels))} does not fit a grid of {'x'.join(map(str, grid))}", hint=SMALLER)
    return tuple(result)
