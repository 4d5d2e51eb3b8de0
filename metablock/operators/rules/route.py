"""What is known of ``route`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import LeafRule, TensorShapes


class GatesRule(LeafRule):
    """The rule of :class:`metablock.operators.route.Gates`."""

    takes = ("vector",)


class NoisyGatesRule(LeafRule):
    """The rule of :class:`metablock.operators.route.NoisyGates`."""

    takes = ("vector",)

    @staticmethod
    def tensors(*, experts: int, width: int) -> TensorShapes:
        return TensorShapes({"deviation.weight": (experts, width), "deviation.bias": (experts,)})


class MixtureRule(LeafRule):
    """The rule of :class:`metablock.operators.route.Mixture`."""

    takes = ("vector",)

    @staticmethod
    def shape(gates: Feature, *outputs: Feature) -> Feature:
        return outputs[0]
