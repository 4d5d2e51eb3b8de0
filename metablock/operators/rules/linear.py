"""What is known of ``linear`` without torch."""

from __future__ import annotations

from typing import ClassVar

from ...shape import Feature
from . import LeafRule, TensorShapes, weight_and_bias


class LinearRule(LeafRule):
    """The rule of :class:`metablock.operators.linear.Linear`."""

    takes = ("grid", "tokens", "vector")
    turned: ClassVar[str | None] = "linear.TurnedLinear"

    @staticmethod
    def shape(x: Feature, *, out: int) -> Feature:
        return x.with_(c=out)

    @staticmethod
    def tensors(c: int, *, out: int, bias: bool) -> TensorShapes:
        return weight_and_bias((out, c), out, bias)


class TurnedLinearRule(LinearRule):
    """The rule of :class:`metablock.operators.linear.TurnedLinear`."""

    turned = None
