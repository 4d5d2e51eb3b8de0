"""What is known of ``deform_conv`` without torch."""

from __future__ import annotations

from math import prod

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand, slide
from . import LeafRule, TensorShapes, weight_and_bias


class DeformConvRule(LeafRule):
    """The rule of :class:`metablock.operators.deform_conv.DeformConv`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, out: int, kernel: Extent, stride: Extent, padding: Extent) -> Feature:
        if x.rank != 2:
            raise error(f"deform_conv works in 2 dimensions, not in {x.rank}", hint="`conv` works in 1, 2 and 3")
        return x.with_(c=out, grid=slide(x.grid, kernel, stride, padding))

    @staticmethod
    def tensors(c: int, rank: int, *, out: int, kernel: Extent, bias: bool) -> TensorShapes:
        kernels = expand(kernel, rank)
        offsets = 2 * prod(kernels)
        own = weight_and_bias((out, c, *kernels), out, bias).parameters
        return TensorShapes({**own, "offset.weight": (offsets, c, *kernels), "offset.bias": (offsets,)})
