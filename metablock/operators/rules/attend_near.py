"""What is known of ``attend_near`` without torch."""

from __future__ import annotations

from . import LeafRule


class AttendNearRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_near.AttendNear`."""

    takes = ("grid",)
