"""What is known of ``attend_taps`` without torch."""

from __future__ import annotations

from . import LeafRule


class AttendTapsRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_taps.AttendTaps`."""

    takes = ("grid",)
