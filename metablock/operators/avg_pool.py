"""Average pooling."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature
from .extents import SMALLER, Extent, expand, sides, slide

AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class AvgPool(nn.Module):
    """Mean over a sliding window: ``(b, c, *grid) -> (b, c, *grid')``.

    Args:
        kernel: extent of the window, one number or one an axis.
        stride: step, one number or one an axis.
        padding: zeros a side, by default ``ceil((kernel - stride) / 2)``.
        count_padding: whether these zeros count in the mean.
        ceil: whether a last window that sticks out is kept (it starts inside the map, and what sticks out never counts).
    """

    takes = ("map",)

    def __init__(
        self,
        rank: int,
        *,
        kernel: int | list[int],
        stride: int | list[int] = 1,
        padding: int | list[int] | None = None,
        count_padding: bool = True,
        ceil: bool = False,
    ):
        super().__init__()
        self.kernel, self.stride = expand(kernel, rank), expand(stride, rank)
        self.padding = sides(padding, self.kernel, self.stride, (1,) * rank)
        self.count_padding, self.ceil = count_padding, ceil

    @staticmethod
    def shape(x: Feature, *, kernel: Extent, stride: Extent, padding: Extent | None, ceil: bool) -> Feature:
        if x.rank == 3 and any(k > g for k, g in zip(expand(kernel, 3), x.grid, strict=True)):
            raise error(f"{x} is smaller than the window", hint="in 3-D torch averages no window that reaches over both edges")
        return x.with_(grid=pooled(x.grid, kernel, stride, padding, ceil))

    def forward(self, x: Tensor) -> Tensor:
        return AVG_POOL[x.dim() - 2](x, self.kernel, self.stride, self.padding, self.ceil, self.count_padding)


def pooled(grid: tuple[int, ...], kernel: Extent, stride: Extent, padding: Extent | None, ceil: bool = False) -> tuple[int, ...]:
    """The grid after pooling. Raises where the window does not fit, or could lie on padding alone."""
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
