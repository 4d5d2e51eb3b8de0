"""What is known of ``group_norm`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, TensorShapes, weight_and_bias


class GroupNormRule(LeafRule):
    """The rule of :class:`metablock.operators.group_norm.GroupNorm`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, groups: int) -> Feature:
        if groups < 1 or x.c % groups:
            hint = "choose a divisor of the width; `group_norm(1)` works for any"
            raise error(f"{groups} groups do not divide {x.c} channels", hint=hint)
        return x

    @staticmethod
    def tensors(c: int, *, bias: bool) -> TensorShapes:
        return weight_and_bias((c,), c, bias)
