"""What is known of ``recurrence`` without torch."""

from __future__ import annotations

from . import LeafRule


class RecurrenceRule(LeafRule):
    """The rule of :class:`metablock.operators.recurrence.Recurrence`."""

    takes = ("tokens",)
