"""Convolution in one, two or three dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature
from .extents import Extent, expand, same_sides, slide

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Conv(nn.Module):
    """Convolution: ``(b, c, *grid) -> (b, out, *grid')``.

    Args:
        out: channels that leave.
        kernel: extent of the kernel, one number or one an axis.
        stride: step, one number or one an axis.
        padding: zeros a side. By default ``ceil((k - stride) / 2)`` with ``k`` the dilated extent ("the map shrinks by the
            stride"); ``"same"`` is TensorFlow's rule, which may put one more zero at the end than at the start.
        dilation: distance between taps.
        groups: groups of channels convolved apart; must divide ``c`` and ``out``.
        bias: whether a constant is added to each channel.

    Weights start as torch's own (Kaiming uniform with ``a = sqrt(5)``).
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
        bias: bool = True,
    ):
        super().__init__()
        self.kernel, self.stride, self.dilation = expand(kernel, rank), expand(stride, rank), expand(dilation, rank)
        self.same, self.padding = same_sides(padding, self.kernel, self.stride, self.dilation)
        self.groups = groups
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
        if groups < 1 or x.c % groups or out % groups:
            raise error(f"{groups} groups do not divide {x.c} channels in and {out} out", hint="`groups=` divides both widths")
        return x.with_(c=out, grid=slide(x.grid, kernel, stride, padding, dilation))

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            x = pad_same(x, self.kernel, self.stride, self.dilation)
        return CONV[x.dim() - 2](x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def pad_same(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], value: float = 0.0
) -> Tensor:
    """TensorFlow's SAME padding: as many outputs as ``ceil(size / stride)``, the odd zero at the end."""
    pads: list[int] = []
    for size, k, s, d in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), reversed(dilation), strict=True):
        total = max(0, (math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)
