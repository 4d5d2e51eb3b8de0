"""What is known of ``std_conv`` without torch."""

from __future__ import annotations

from ...shape import Feature
from ..extents import Extent
from . import LeafRule, TensorShapes
from .conv import ConvRule


class StdConvRule(LeafRule):
    """The rule of :class:`metablock.operators.std_conv.StdConv`."""

    takes = ("map",)

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
        return ConvRule.shape(x, out=out, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

    @staticmethod
    def tensors(c: int, rank: int, *, out: int, kernel: Extent, groups: int, bias: bool) -> TensorShapes:
        return ConvRule.tensors(c, rank, out=out, kernel=kernel, groups=groups, bias=bias)
