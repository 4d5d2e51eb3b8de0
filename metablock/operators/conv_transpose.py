"""Transposed convolution: learned upsampling."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from .extents import expand
from .rules.conv_transpose import ConvTransposeRule, cut


class ConvTranspose(ConvTransposeRule):
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


CONV_TRANSPOSES: dict[int, type] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
