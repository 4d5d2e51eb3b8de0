"""What is known of ``conv`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand, slide
from . import LeafRule, TensorShapes, weight_and_bias


class ConvRule(LeafRule):
    """The rule of :class:`metablock.operators.conv.Conv`."""

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
        if groups < 1 or x.c % groups or out % groups:
            raise error(f"{groups} groups do not divide {x.c} channels in and {out} out", hint="`groups=` divides both widths")
        return x.with_(c=out, grid=slide(x.grid, kernel, stride, padding, dilation))

    @staticmethod
    def tensors(c: int, rank: int, *, out: int, kernel: Extent, groups: int, bias: bool) -> TensorShapes:
        return weight_and_bias((out, c // groups, *expand(kernel, rank)), out, bias)
