"""What is known of ``attend_taps`` without torch."""

from __future__ import annotations

from . import Rule


class AttendTapsRule(Rule):
    """The rule of :class:`metablock.operators.attend_taps.AttendTaps`."""

    takes = ("grid",)
