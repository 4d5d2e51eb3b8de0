"""Convolution whose filters are standardised before use."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..shape import Feature
from .conv import CONV, Conv, pad_same
from .extents import Extent, expand, same_sides


class StdConv(nn.Module):
    """Weight-standardised convolution: ``(b, c, *grid) -> (b, out, *grid')``.

    ``y = x * (w - mean(w)) / sqrt(var(w) + eps)``, mean and (biased) variance over each output filter.

    Args:
        out: channels that leave.
        kernel: extent of the kernel, one number or one an axis.
        stride: step, one number or one an axis.
        padding: as in ``conv``, but by default ``"same"``, TensorFlow's rule; ``none`` is the rule of ``conv``.
        eps: added to the variance.
        dilation: distance between taps.
        groups: groups of channels convolved apart; must divide ``c`` and ``out``.
        bias: whether a constant is added to each channel.

    Qiao et al. 2019 (arXiv 1903.10520). As timm's ``StdConv2dSame``; the JAX code of BiT and ViT divides by ``std + 1e-5``.
    """

    takes = ("map",)

    def __init__(
        self,
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
    ):
        super().__init__()
        self.kernel, self.stride, self.dilation = expand(kernel, rank), expand(stride, rank), expand(dilation, rank)
        self.same, self.padding = same_sides(padding, self.kernel, self.stride, self.dilation)
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.empty(out, c // groups, *self.kernel))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    @staticmethod
    def shape(
        x: Feature,
        *,
        out: int,
        kernel: Extent,
        stride: Extent,
        padding: Extent | str | None,
        dilation: Extent,
        groups: int,
    ) -> Feature:
        return Conv.shape(x, out=out, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            x = pad_same(x, self.kernel, self.stride, self.dilation)
        weight = F.layer_norm(self.weight, self.weight.shape[1:], eps=self.eps)
        return CONV[x.dim() - 2](x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
