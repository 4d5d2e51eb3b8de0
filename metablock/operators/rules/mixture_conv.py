"""What is known of ``mixture_conv`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand
from . import LeafRule, Size, TensorShapes
from .conv import ConvRule


class MixtureConvRule(LeafRule):
    """The rule of :class:`metablock.operators.mixture_conv.MixtureConv`."""

    takes = ("map",)

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
        return ConvRule.shape(x, out=out, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

    @staticmethod
    def tensors(c: int, rank: int, *, out: int, kernel: Extent, groups: int, bias: bool, experts: int) -> TensorShapes:
        sizes: dict[str, Size] = {"weight": (experts, out, c // groups, *expand(kernel, rank))}
        return TensorShapes(sizes | ({"bias": (experts, out)} if bias else {}))
