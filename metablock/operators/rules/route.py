"""What is known of ``route`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import Rule, Tensors


class GatesRule(Rule):
    """The rule of :class:`metablock.operators.route.Gates`."""

    takes = ("vector",)


class NoisyGatesRule(Rule):
    """The rule of :class:`metablock.operators.route.NoisyGates`."""

    takes = ("vector",)

    @staticmethod
    def tensors(*, experts: int, width: int) -> Tensors:
        return Tensors({"deviation.weight": (experts, width), "deviation.bias": (experts,)})


class MixtureRule(Rule):
    """The rule of :class:`metablock.operators.route.Mixture`."""

    takes = ("vector",)

    @staticmethod
    def shape(gates: Feature, *outputs: Feature) -> Feature:
        return outputs[0]
