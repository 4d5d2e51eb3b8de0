"""What is known of ``activations`` without torch."""

from __future__ import annotations

from ...errors import error, suggest
from ...shape import Feature
from . import LeafRule, TensorShapes


class ReluRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Relu`."""

    takes = ("map", "grid", "tokens", "vector")


class Relu6Rule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Relu6`."""

    takes = ("map", "grid", "tokens", "vector")


class GeluRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Gelu`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, approximate: str) -> Feature:
        if approximate not in ("none", "tanh"):
            raise error(f"unknown approximation '{approximate}'", hint=suggest(approximate, ["tanh"], '"none" or "tanh"'))
        return x


class QuickGeluRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.QuickGelu`."""

    takes = ("map", "grid", "tokens", "vector")


class SiluRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Silu`."""

    takes = ("map", "grid", "tokens", "vector")


class SigmoidRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Sigmoid`."""

    takes = ("map", "grid", "tokens", "vector")


class TanhRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Tanh`."""

    takes = ("map", "grid", "tokens", "vector")


class HardSwishRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.HardSwish`."""

    takes = ("map", "grid", "tokens", "vector")


class HardSigmoidRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.HardSigmoid`."""

    takes = ("map", "grid", "tokens", "vector")


class SoftplusRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Softplus`."""

    takes = ("map", "grid", "tokens", "vector")


class LogRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Log`."""

    takes = ("map", "grid", "tokens", "vector")


class EluRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.Elu`."""

    takes = ("map", "grid", "tokens", "vector")


class StarReluRule(LeafRule):
    """The rule of :class:`metablock.operators.activations.StarRelu`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def tensors() -> TensorShapes:
        return TensorShapes({"scale": (1,), "bias": (1,)})
