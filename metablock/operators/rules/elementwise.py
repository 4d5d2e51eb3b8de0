"""What is known of ``elementwise`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import Rule


class ExpRule(Rule):
    """The rule of :class:`metablock.operators.elementwise.Exp`."""

    takes = ("map", "grid", "tokens", "vector")


class SqrtRule(Rule):
    """The rule of :class:`metablock.operators.elementwise.Sqrt`."""

    takes = ("map", "grid", "tokens", "vector")


class AbsRule(Rule):
    """The rule of :class:`metablock.operators.elementwise.Abs`."""

    takes = ("map", "grid", "tokens", "vector")


class SinRule(Rule):
    """The rule of :class:`metablock.operators.elementwise.Sin`."""

    takes = ("map", "grid", "tokens", "vector")


class CosRule(Rule):
    """The rule of :class:`metablock.operators.elementwise.Cos`."""

    takes = ("map", "grid", "tokens", "vector")


class AboveRule(Rule):
    """The rule of :class:`metablock.operators.elementwise.Above`."""

    takes = ("map", "grid", "tokens", "vector")


class BelowRule(Rule):
    """The rule of :class:`metablock.operators.elementwise.Below`."""

    takes = ("map", "grid", "tokens", "vector")


class ClipRule(Rule):
    """The rule of :class:`metablock.operators.elementwise.Clip`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, low: float | None, high: float | None) -> Feature:
        if low is None and high is None:
            raise error("`clip` without a bound", hint="give one: `clip(0, 1)`, `clip(high=6)`")
        if low is not None and high is not None and low > high:
            raise error(f"`clip` from {low:g} to {high:g}", hint="the lower bound comes first")
        return x
