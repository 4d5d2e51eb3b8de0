"""Transposed convolution: learned upsampling."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from ..errors import error
from ..shape import Feature
from .extents import Extent, expand


class ConvTranspose:
    """Transposed convolution: ``(b, c, *grid) -> (b, out, *grid')``, by default ``grid' = stride * grid``.

    Makes torch's ``nn.ConvTranspose1d``, ``nn.ConvTranspose2d`` or ``nn.ConvTranspose3d``.

    Args:
        out: number of output channels.
        kernel: extent of the kernel, one number or one per axis.
        stride: upsampling factor, one number or one per axis.
        padding: positions cut off each side of the result, which then has ``(g - 1) * stride + kernel - 2 * padding``
            positions per axis. The default mirrors ``conv``'s rule ("the map grows by the stride"): it cuts
            ``ceil((k - stride) / 2)`` at the start and the rest of ``k - stride`` at the end. For stride 2 this gives the
            (4, 1, 0), (3, 1, 1) and (2, 0, 0) of Simple Baselines (Xiao et al. 2018): kernel, padding, output padding.
        groups: number of channel groups convolved separately; must divide ``c`` and ``out``.
        bias: whether to add a constant to each channel.

    The weight is ``(c, out / groups, *kernel)``; initial values are torch's (Kaiming uniform with ``a = sqrt(5)``).

    Example:
        >>> import torch
        >>> ConvTranspose(8, 2, out=4, kernel=3, stride=2)(torch.zeros(1, 8, 5, 6)).shape
        torch.Size([1, 4, 10, 12])
    """

    takes = ("map",)

    def __new__(  # type: ignore[misc]
        cls,
        c: int,
        rank: int,
        *,
        out: int,
        kernel: int | list[int],
        stride: int | list[int],
        padding: int | list[int] | None = None,
        groups: int = 1,
        bias: bool = True,
    ) -> _ConvTransposeNd:
        kernels, strides = expand(kernel, rank), expand(stride, rank)
        pads, extra = cut(padding, kernels, strides)
        return CONV_TRANSPOSES[rank](c, out, kernels, strides, pads, extra, groups, bias)

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


CONV_TRANSPOSES: dict[int, type] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def cut(padding: Extent | None, kernel: tuple[int, ...], stride: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Torch's ``padding`` (cut off each side) and ``output_padding`` (put back at the end)."""
    if padding is not None:
        return expand(padding, len(kernel)), (0,) * len(kernel)
    pads = tuple(max(0, math.ceil((k - s) / 2)) for k, s in zip(kernel, stride, strict=True))
    return pads, tuple(2 * p - (k - s) for k, s, p in zip(kernel, stride, pads, strict=True))
