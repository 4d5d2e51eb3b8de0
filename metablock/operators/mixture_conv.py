"""Convolution that mixes a kernel of its own for every sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .conv import CONV, pad_same
from .extents import expand, same_sides
from .rules.mixture_conv import MixtureConvRule


class MixtureConv(MixtureConvRule, nn.Module):
    """Dynamic convolution: ``(b, c, *grid), (b, experts) -> (b, out, *grid')``.

    ``y = x * (sum_e route_e W_e) + sum_e route_e b_e``. One matrix product mixes the kernels, not the outputs; one grouped
    convolution then convolves each sample with its own kernel.

    Args:
        out: number of output channels.
        kernel: extent of the kernel, one number or one per axis.
        stride: step, one number or one per axis.
        padding: zeros per side, as in ``conv``.
        dilation: distance between taps.
        groups: number of channel groups convolved separately; must divide ``c`` and ``out``.
        bias: whether to add a constant, mixed in the same way, to each channel.
        experts: number of kernels to mix.

    Chen et al. 2020 (arXiv 1912.03458), where ``route`` is a softmax; CondConv (arXiv 1904.04971) has a sigmoid. Each kernel
    starts as Kaiming uniform (``a = 0``) of its own, biases as 0.

    Example:
        >>> conv = MixtureConv(3, 2, out=8, kernel=3, experts=4)
        >>> conv(torch.zeros(2, 3, 9, 9), torch.full((2, 4), 0.25)).shape
        torch.Size([2, 8, 9, 9])
    """

    roles = {"weight": "matrix"}

    def __init__(
        self,
        c: int,
        rank: int,
        *,
        out: int,
        kernel: int | list[int] = 1,
        stride: int | list[int] = 1,
        padding: int | list[int] | str | None = None,
        dilation: int | list[int] = 1,
        groups: int = 1,
        bias: bool = False,
        experts: int = 4,
    ):
        super().__init__()
        self.kernel, self.stride, self.dilation = expand(kernel, rank), expand(stride, rank), expand(dilation, rank)
        self.same, self.padding = same_sides(padding, self.kernel, self.stride, self.dilation)
        self.out, self.groups = out, groups
        self.weight = nn.Parameter(torch.empty(experts, out, c // groups, *self.kernel))
        self.bias = nn.Parameter(torch.empty(experts, out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for expert in self.weight:
            nn.init.kaiming_uniform_(expert)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, route: Tensor) -> Tensor:
        if self.same:
            x = pad_same(x, self.kernel, self.stride, self.dilation)
        weight = (route @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:]).flatten(0, 1)
        bias = None if self.bias is None else (route @ self.bias).flatten()
        # The samples stand side by side in the channels: that makes them groups.
        groups = self.groups * x.shape[0]
        x = x.flatten(0, 1).unsqueeze(0)
        x = CONV[len(self.kernel)](x, weight, bias, self.stride, self.padding, self.dilation, groups)
        return x.squeeze(0).unflatten(0, (-1, self.out))


torch.fx.wrap("pad_same")
