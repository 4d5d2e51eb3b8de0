"""What is known of ``attend_matrix`` without torch."""

from __future__ import annotations

from . import LeafRule


class AttendProductRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_matrix.AttendProduct`."""

    takes = ("grid", "tokens")


class LogitsRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_matrix.Logits`."""

    takes = ("grid", "tokens")


class WeightsRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_matrix.Weights`."""

    takes = ("map",)


class WeightedSumRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_matrix.WeightedSum`."""

    takes = ("map",)
