"""What is known of ``elementwise`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule


class ExpRule(LeafRule):
    """The rule of :class:`metablock.operators.elementwise.Exp`."""

    takes = ("map", "grid", "tokens", "vector")


class SqrtRule(LeafRule):
    """The rule of :class:`metablock.operators.elementwise.Sqrt`."""

    takes = ("map", "grid", "tokens", "vector")


class AbsRule(LeafRule):
    """The rule of :class:`metablock.operators.elementwise.Abs`."""

    takes = ("map", "grid", "tokens", "vector")


class SinRule(LeafRule):
    """The rule of :class:`metablock.operators.elementwise.Sin`."""

    takes = ("map", "grid", "tokens", "vector")


class CosRule(LeafRule):
    """The rule of :class:`metablock.operators.elementwise.Cos`."""

    takes = ("map", "grid", "tokens", "vector")


class AboveRule(LeafRule):
    """The rule of :class:`metablock.operators.elementwise.Above`."""

    takes = ("map", "grid", "tokens", "vector")


class BelowRule(LeafRule):
    """The rule of :class:`metablock.operators.elementwise.Below`."""

    takes = ("map", "grid", "tokens", "vector")


class ClipRule(LeafRule):
    """The rule of :class:`metablock.operators.elementwise.Clip`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, low: float | None, high: float | None) -> Feature:
        if low is None and high is None:
            raise error("`clip` without a bound", hint="give one: `clip(0, 1)`, `clip(high=6)`")
        if low is not None and high is not None and low > high:
            raise error(f"`clip` from {low:g} to {high:g}", hint="the lower bound comes first")
        return x
