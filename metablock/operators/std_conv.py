"""Convolution with standardised filters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .conv import CONV, pad_same
from .extents import expand, same_sides
from .rules.std_conv import StdConvRule


class StdConv(StdConvRule):
    """Weight-standardised convolution: ``(b, c, *grid) -> (b, out, *grid')``. Makes a subclass of torch's ``nn.Conv{rank}d``.

    ``y = x * (w - mean(w)) / sqrt(var(w) + eps)``, mean and (biased) variance over each output filter.

    Args:
        out: number of output channels.
        kernel: extent of the kernel, one number or one per axis.
        stride: step, one number or one per axis.
        padding: as in ``conv``, but by default ``"same"``, TensorFlow's rule; ``none`` is the rule of ``conv``.
        eps: added to the variance.
        dilation: distance between taps.
        groups: number of channel groups convolved separately; must divide ``c`` and ``out``.
        bias: whether to add a constant to each channel.

    Qiao et al. 2019 (arXiv 1903.10520). Equals timm's ``StdConv2dSame``; the JAX code of BiT and ViT divides by ``std + 1e-5``.

    Example:
        >>> conv = StdConv(3, 2, out=8, kernel=7, stride=2)
        >>> isinstance(conv, nn.Conv2d), conv(torch.zeros(1, 3, 15, 15)).shape
        (True, torch.Size([1, 8, 8, 8]))
    """

    def __new__(  # type: ignore[misc]
        cls,
        c: int,
        rank: int,
        *,
        out: int,
        kernel: int | list[int] = 1,
        stride: int | list[int] = 1,
        padding: int | list[int] | str | None = "same",
        eps: float = 1e-8,
        dilation: int | list[int] = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> _ConvNd:
        kernels, strides, dilations = expand(kernel, rank), expand(stride, rank), expand(dilation, rank)
        same, pads = same_sides(padding, kernels, strides, dilations)
        return STD_CONVS[rank](c, out, kernels, strides, pads, dilations, groups, bias, eps=eps, same=same)


class _StdConv(_ConvNd):
    def __init__(self, *args: Any, eps: float, same: bool):
        super().__init__(*args)
        self.eps, self.same = eps, same

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        weight = F.layer_norm(self.weight, self.weight.shape[1:], eps=self.eps)
        return CONV[len(self.kernel_size)](x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class StdConv1d(_StdConv, nn.Conv1d):
    """``nn.Conv1d`` that standardises its filters before use; made by :class:`StdConv`."""


class StdConv2d(_StdConv, nn.Conv2d):
    """``nn.Conv2d`` that standardises its filters before use; made by :class:`StdConv`."""


class StdConv3d(_StdConv, nn.Conv3d):
    """``nn.Conv3d`` that standardises its filters before use; made by :class:`StdConv`."""


STD_CONVS = {1: StdConv1d, 2: StdConv2d, 3: StdConv3d}

torch.fx.wrap("pad_same")
