"""Average pooling."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import pad_same
from .extents import expand, same_sides
from .rules.avg_pool import AvgPoolRule


class AvgPool(AvgPoolRule):
    """Mean over a sliding window: ``(b, c, *grid) -> (b, c, *grid')``. Makes torch's ``nn.AvgPool{rank}d``.

    Args:
        kernel: extent of the window, one number or one per axis.
        stride: step, one number or one per axis.
        padding: zeros per side, by default ``ceil((kernel - stride) / 2)``; ``"same"`` is TensorFlow's rule, which may put one
            more zero at the end than at the start.
        count_padding: whether these zeros count in the mean, as in torch and timm; in TensorFlow's own pooling they do not.
        ceil: whether to keep a last window that sticks out (it starts inside the map; what sticks out never counts).

    Where the padding of ``"same"`` depends on the size of the input, the module is a subclass of torch's that pads before it
    pools (:class:`SameAvgPool2d`).

    Example:
        >>> AvgPool(2, kernel=3, stride=2)(torch.zeros(1, 4, 8, 8)).shape
        torch.Size([1, 4, 4, 4])
    """

    def __new__(  # type: ignore[misc]
        cls,
        rank: int,
        *,
        kernel: int | list[int],
        stride: int | list[int] = 1,
        padding: int | list[int] | str | None = None,
        count_padding: bool = True,
        ceil: bool = False,
    ) -> nn.Module:
        kernels, strides = expand(kernel, rank), expand(stride, rank)
        same, pads = same_sides(padding, kernels, strides, (1,) * rank)
        classes = SAME_AVG_POOLS if same else AVG_POOLS
        return classes[rank](kernels, strides, pads, ceil, count_padding)


class _SameAvgPool(nn.Module):
    rank: int
    kernel_size: Any  # one number, or one per axis, as torch's classes have it
    stride: Any
    count_include_pad: bool

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = expand(self.kernel_size, self.rank), expand(self.stride, self.rank)
        y = AVG_POOL[self.rank](pad_same(x, kernel, stride, (1,) * self.rank), kernel, stride)
        return y if self.count_include_pad else y / covered(x, kernel, stride)


def covered(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Which part of each window of SAME padding lies on the map: ``(1, 1, *grid')``."""
    ones = x.new_ones((1, 1, *x.shape[2:]))
    return AVG_POOL[len(kernel)](pad_same(ones, kernel, stride, (1,) * len(kernel)), kernel, stride)


class SameAvgPool1d(_SameAvgPool, nn.AvgPool1d):
    """``nn.AvgPool1d`` with TensorFlow's SAME padding, computed from the size of each input."""

    rank = 1


class SameAvgPool2d(_SameAvgPool, nn.AvgPool2d):
    """``nn.AvgPool2d`` with TensorFlow's SAME padding, computed from the size of each input.

    Example:
        >>> SameAvgPool2d(3, 2)(torch.zeros(1, 4, 7, 8)).shape
        torch.Size([1, 4, 4, 4])
    """

    rank = 2


class SameAvgPool3d(_SameAvgPool, nn.AvgPool3d):
    """``nn.AvgPool3d`` with TensorFlow's SAME padding, computed from the size of each input."""

    rank = 3


AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
SAME_AVG_POOLS: dict[int, type] = {1: SameAvgPool1d, 2: SameAvgPool2d, 3: SameAvgPool3d}
AVG_POOLS: dict[int, type] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


torch.fx.wrap("pad_same")
torch.fx.wrap("covered")  # makes a tensor from sizes: one node of the traced graph
