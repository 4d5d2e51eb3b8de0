"""What is known of ``attend_given`` without torch."""

from __future__ import annotations

from . import LeafRule


class AttendGivenRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_given.AttendGiven`."""

    takes = ("grid", "tokens")
