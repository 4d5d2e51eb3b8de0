"""Transposed convolution: a learned enlargement."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature
from .extents import Extent, expand

CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class ConvTranspose(nn.Module):
    """Transposed convolution: ``(b, c, *grid) -> (b, out, *grid')``, by default ``grid' = stride * grid``.

    Args:
        out: channels that leave.
        kernel: extent of the kernel, one number or one an axis.
        stride: factor of the enlargement, one number or one an axis.
        padding: what is cut off the result a side, which then has ``(g - 1) * stride + kernel - 2 * padding`` positions an
            axis. By default the mirror image of ``conv``'s rule ("the map grows by the stride"): ``ceil((k - stride) / 2)``
            are cut at the start, the rest of ``k - stride`` at the end. These are the (4, 1, 0), (3, 1, 1) and (2, 0, 0) of
            Simple Baselines (Xiao et al. 2018) as kernel, padding and output padding for stride 2.
        groups: groups of channels convolved apart; must divide ``c`` and ``out``.
        bias: whether a constant is added to each channel.

    The weight is ``(c, out / groups, *kernel)`` and starts as torch's own (Kaiming uniform with ``a = sqrt(5)``).
    """

    takes = ("map",)

    def __init__(
        self,
        c: int,
        rank: int,
        *,
        out: int,
        kernel: int | list[int],
        stride: int | list[int],
        padding: int | list[int] | None = None,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        self.stride, self.groups = expand(stride, rank), groups
        kernels = expand(kernel, rank)
        self.padding, self.extra = cut(padding, kernels, self.stride)
        self.weight = nn.Parameter(torch.empty(c, out // groups, *kernels))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    @staticmethod
    def shape(x: Feature, *, out: int, kernel: Extent, stride: Extent, padding: Extent | None, groups: int) -> Feature:
        if groups < 1 or x.c % groups or out % groups:
            raise error(f"{groups} groups do not divide {x.c} channels in and {out} out", hint="`groups=` divides both widths")
        kernels, strides = expand(kernel, x.rank), expand(stride, x.rank)
        if min(*kernels, *strides) < 1:
            raise error("kernel and stride are at least 1", hint="`1` leaves the extents as they are")
        pads, extra = cut(padding, kernels, strides)
        for k, s, e in zip(kernels, strides, extra, strict=True):
            if e >= s:
                raise error(f"a kernel of {k} with stride {s} has no centre", hint="give the padding: what is cut off each side")
        sizes = zip(x.grid, kernels, strides, pads, extra, strict=True)
        grid = tuple((g - 1) * s + k - 2 * p + e for g, k, s, p, e in sizes)
        if min(grid) < 1 or min(pads) < 0:
            text = f"a padding of {'x'.join(map(str, pads))} does not fit a kernel of {'x'.join(map(str, kernels))}"
            raise error(text, hint="less padding, or a larger kernel")
        return x.with_(c=out, grid=grid)

    def forward(self, x: Tensor) -> Tensor:
        return CONV_TRANSPOSE[x.dim() - 2](x, self.weight, self.bias, self.stride, self.padding, self.extra, self.groups)


def cut(padding: Extent | None, kernel: tuple[int, ...], stride: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Torch's ``padding`` (cut off each side) and ``output_padding`` (put back at the end)."""
    if padding is not None:
        return expand(padding, len(kernel)), (0,) * len(kernel)
    pads = tuple(max(0, math.ceil((k - s) / 2)) for k, s in zip(kernel, stride, strict=True))
    return pads, tuple(2 * p - (k - s) for k, s, p in zip(kernel, stride, pads, strict=True))
