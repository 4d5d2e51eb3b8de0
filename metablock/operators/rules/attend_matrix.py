"""What is known of ``attend_matrix`` without torch."""

from __future__ import annotations

from . import Rule


class AttendProductRule(Rule):
    """The rule of :class:`metablock.operators.attend_matrix.AttendProduct`."""

    takes = ("grid", "tokens")


class LogitsRule(Rule):
    """The rule of :class:`metablock.operators.attend_matrix.Logits`."""

    takes = ("grid", "tokens")


class WeightsRule(Rule):
    """The rule of :class:`metablock.operators.attend_matrix.Weights`."""

    takes = ("map",)


class WeightedSumRule(Rule):
    """The rule of :class:`metablock.operators.attend_matrix.WeightedSum`."""

    takes = ("map",)
