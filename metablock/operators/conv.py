"""Convolution in one, two or three dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .extents import expand, same_sides
from .rules.conv import ConvRule

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Conv(ConvRule):
    """Convolution: ``(b, c, *grid) -> (b, out, *grid')``. Makes torch's ``nn.Conv1d``, ``nn.Conv2d`` or ``nn.Conv3d``.

    Args:
        out: number of output channels.
        kernel: extent of the kernel, one number or one per axis.
        stride: step, one number or one per axis.
        padding: zeros per side. The default is ``ceil((k - stride) / 2)`` with ``k`` the dilated extent ("the map shrinks by
            the stride"); ``"same"`` is TensorFlow's rule, which may put one more zero at the end than at the start.
        dilation: distance between taps.
        groups: number of channel groups convolved separately; must divide ``c`` and ``out``.
        bias: whether to add a constant to each channel.

    Initial values are torch's (Kaiming uniform with ``a = sqrt(5)``). Where the zeros of ``"same"`` depend on the size of the
    input, the module is a subclass of torch's that pads before it convolves (:class:`SameConv2d`).

    Example:
        >>> Conv(3, 2, out=8, kernel=3, stride=2)
        Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
        >>> Conv(3, 1, out=8, kernel=5)(torch.zeros(2, 3, 20)).shape
        torch.Size([2, 8, 20])
    """

    def __new__(  # type: ignore[misc]
        cls,
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
    ) -> _ConvNd:
        kernels, strides, dilations = expand(kernel, rank), expand(stride, rank), expand(dilation, rank)
        same, pads = same_sides(padding, kernels, strides, dilations)
        classes = SAME_CONVS if same else CONVS
        return classes[rank](c, out, kernels, strides, pads, dilations, groups, bias)


class _SameConv(_ConvNd):
    def forward(self, x: Tensor) -> Tensor:
        x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return CONV[len(self.kernel_size)](x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class SameConv1d(_SameConv, nn.Conv1d):
    """``nn.Conv1d`` with TensorFlow's SAME padding, computed from the size of each input."""


class SameConv2d(_SameConv, nn.Conv2d):
    """``nn.Conv2d`` with TensorFlow's SAME padding, computed from the size of each input.

    Example:
        >>> SameConv2d(3, 8, 3, stride=2)(torch.zeros(1, 3, 15, 16)).shape
        torch.Size([1, 8, 8, 8])
    """


class SameConv3d(_SameConv, nn.Conv3d):
    """``nn.Conv3d`` with TensorFlow's SAME padding, computed from the size of each input."""


CONVS: dict[int, type] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SAME_CONVS: dict[int, type] = {1: SameConv1d, 2: SameConv2d, 3: SameConv3d}


def pad_same(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    value: float = 0.0,
    first: int = 2,
) -> Tensor:
    """Pads as TensorFlow's SAME rule does: ``ceil(size / stride)`` outputs per axis, the odd ``value`` at the end.

    ``first``: the first axis of the grid; 1 where the channels are last.
    """
    pads: list[int] = []
    for size, k, s, d in zip(
        reversed(x.shape[first : first + len(kernel)]), reversed(kernel), reversed(stride), reversed(dilation), strict=True
    ):
        total = max(0, (math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads if first == 2 else [0, 0, *pads], value=value)


torch.fx.wrap("pad_same")  # reads sizes, which torch.fx does not know: one node of the traced graph
