"""What is known of ``attend`` without torch."""

from __future__ import annotations

from . import LeafRule


class AttendRule(LeafRule):
    """The rule of :class:`metablock.operators.attend.Attend`."""

    takes = ("grid", "tokens")
