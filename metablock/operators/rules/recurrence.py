"""What is known of ``recurrence`` without torch."""

from __future__ import annotations

from . import Rule


class RecurrenceRule(Rule):
    """The rule of :class:`metablock.operators.recurrence.Recurrence`."""

    takes = ("tokens",)
