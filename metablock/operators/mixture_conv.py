"""Convolution whose kernel is mixed anew for every sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature
from .conv import CONV, Conv, pad_same
from .extents import Extent, expand, same_sides


class MixtureConv(nn.Module):
    """Dynamic convolution: ``(b, c, *grid), (b, experts) -> (b, out, *grid')``.

    ``y = x * (sum_e route_e W_e) + sum_e route_e b_e``: the kernels are mixed, not the outputs, by one matrix product; then
    one grouped convolution convolves each sample with its own kernel.

    Args:
        out: channels that leave.
        kernel: extent of the kernel, one number or one an axis.
        stride: step, one number or one an axis.
        padding: zeros a side, as in ``conv``.
        dilation: distance between taps.
        groups: groups of channels convolved apart; must divide ``c`` and ``out``.
        bias: whether a constant, mixed in the same way, is added to each channel.
        experts: number of kernels to mix.

    Chen et al. 2020 (arXiv 1912.03458), where ``route`` is a softmax; CondConv (arXiv 1904.04971) has a sigmoid. Each kernel
    starts by itself as Kaiming uniform (``a = 0``), biases as 0.
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
        padding: int | list[int] | str | None = None,
        dilation: int | list[int] = 1,
        groups: int = 1,
        bias: bool = False,
        experts: int = 4,
    ):
        super().__init__()
        self.kernel, self.stride, self.dilation = expand(kernel, rank), expand(stride, rank), expand(dilation, rank)
        self.same, self.padding = same_sides(padding, self.kernel, self.stride, self.dilation)
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(experts, out, c // groups, *self.kernel))
        self.bias = nn.Parameter(torch.empty(experts, out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for expert in self.weight:
            nn.init.kaiming_uniform_(expert)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @staticmethod
    def shape(
        x: Feature,
        route: Feature,
        *,
        out: int,
        kernel: Extent,
        stride: Extent,
        padding: Extent | str | None,
        dilation: Extent,
        groups: int,
        experts: int,
    ) -> Feature:
        if route.layout != "vector" or route.c != experts:
            raise error(f"the route is a {route}, the mixture has {experts} experts", hint=f"a route is a vector of {experts}")
        return Conv.shape(x, out=out, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def forward(self, x: Tensor, route: Tensor) -> Tensor:
        if self.same:
            x = pad_same(x, self.kernel, self.stride, self.dilation)
        b, (_, out, c, *kernel) = x.shape[0], self.weight.shape
        weight = (route @ self.weight.flatten(1)).view(b * out, c, *kernel)
        bias = None if self.bias is None else (route @ self.bias).flatten()
        # The samples stand side by side in the channels: that makes them groups.
        x = x.reshape(1, -1, *x.shape[2:])
        x = CONV[x.dim() - 2](x, weight, bias, self.stride, self.padding, self.dilation, self.groups * b)
        return x.view(b, out, *x.shape[2:])
