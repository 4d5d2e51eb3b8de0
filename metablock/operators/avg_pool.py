"""Average pooling."""

from __future__ import annotations

from torch import nn

from ..errors import error
from ..shape import Feature
from .extents import SMALLER, Extent, expand, sides, slide


class AvgPool:
    """Mean over a sliding window: ``(b, c, *grid) -> (b, c, *grid')``. Makes torch's ``nn.AvgPool{rank}d``.

    Args:
        kernel: extent of the window, one number or one per axis.
        stride: step, one number or one per axis.
        padding: zeros per side, by default ``ceil((kernel - stride) / 2)``.
        count_padding: whether these zeros count in the mean.
        ceil: whether to keep a last window that sticks out (it starts inside the map; what sticks out never counts).

    Example:
        >>> import torch
        >>> AvgPool(2, kernel=3, stride=2)(torch.zeros(1, 4, 8, 8)).shape
        torch.Size([1, 4, 4, 4])
    """

    takes = ("map",)

    def __new__(  # type: ignore[misc]
        cls,
        rank: int,
        *,
        kernel: int | list[int],
        stride: int | list[int] = 1,
        padding: int | list[int] | None = None,
        count_padding: bool = True,
        ceil: bool = False,
    ) -> nn.Module:
        kernels, strides = expand(kernel, rank), expand(stride, rank)
        pads = sides(padding, kernels, strides, (1,) * rank)
        return AVG_POOLS[rank](kernels, strides, pads, ceil, count_padding)

    @staticmethod
    def shape(x: Feature, *, kernel: Extent, stride: Extent, padding: Extent | None, ceil: bool) -> Feature:
        if x.rank == 3 and any(k > g for k, g in zip(expand(kernel, 3), x.grid, strict=True)):
            raise error(f"{x} is smaller than the window", hint="in 3-D torch averages no window that reaches over both edges")
        return x.with_(grid=pooled(x.grid, kernel, stride, padding, ceil))


AVG_POOLS: dict[int, type] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


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
