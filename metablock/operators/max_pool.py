"""Maximum pooling."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.pooling import _MaxPoolNd

from .conv import pad_same
from .extents import expand, same_sides
from .rules.max_pool import MaxPoolRule


class MaxPool(MaxPoolRule):
    """Maximum over a sliding window: ``(b, c, *grid) -> (b, c, *grid')``. Makes torch's ``nn.MaxPool{rank}d``.

    Args:
        kernel: extent of the window, one number or one per axis.
        stride: step, one number or one per axis.
        padding: positions per side that never win (minus infinity, in torch, timm and TensorFlow alike), by default
            ``ceil((kernel - stride) / 2)``; ``"same"`` is TensorFlow's rule, which may put one more at the end than at the
            start. Zeros that take part: ``pad(0, 1) >> max_pool(3, stride=2, padding=0)``.

    Where the padding of ``"same"`` depends on the size of the input, the module is a subclass of torch's that pads before it
    pools (:class:`SameMaxPool2d`).

    Example:
        >>> MaxPool(2, kernel=3, stride=2)(torch.zeros(1, 4, 8, 8)).shape
        torch.Size([1, 4, 4, 4])
    """

    def __new__(  # type: ignore[misc]
        cls,
        rank: int,
        *,
        kernel: int | list[int],
        stride: int | list[int] = 1,
        padding: int | list[int] | str | None = None,
    ) -> _MaxPoolNd:
        kernels, strides = expand(kernel, rank), expand(stride, rank)
        same, pads = same_sides(padding, kernels, strides, (1,) * rank)
        classes = SAME_MAX_POOLS if same else MAX_POOLS
        return classes[rank](kernels, strides, pads)


class _SameMaxPool(_MaxPoolNd):
    rank: int
    kernel_size: int | tuple[int, ...]  # one number for all axes, as torch's classes have it, too
    stride: int | tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = expand(self.kernel_size, self.rank), expand(self.stride, self.rank)
        x = pad_same(x, kernel, stride, (1,) * self.rank, value=-math.inf)
        return MAX_POOL[self.rank](x, kernel, stride)


class SameMaxPool1d(_SameMaxPool, nn.MaxPool1d):  # type: ignore[misc]
    """``nn.MaxPool1d`` with TensorFlow's SAME padding, computed from the size of each input."""

    rank = 1


class SameMaxPool2d(_SameMaxPool, nn.MaxPool2d):  # type: ignore[misc]
    """``nn.MaxPool2d`` with TensorFlow's SAME padding, computed from the size of each input.

    Example:
        >>> SameMaxPool2d(3, 2)(torch.zeros(1, 4, 7, 8)).shape
        torch.Size([1, 4, 4, 4])
    """

    rank = 2


class SameMaxPool3d(_SameMaxPool, nn.MaxPool3d):  # type: ignore[misc]
    """``nn.MaxPool3d`` with TensorFlow's SAME padding, computed from the size of each input."""

    rank = 3


MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MAX_POOLS: dict[int, type[_MaxPoolNd]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
SAME_MAX_POOLS: dict[int, type[_MaxPoolNd]] = {1: SameMaxPool1d, 2: SameMaxPool2d, 3: SameMaxPool3d}

torch.fx.wrap("pad_same")
