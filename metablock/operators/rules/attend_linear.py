"""What is known of ``attend_linear`` without torch."""

from __future__ import annotations

from . import Rule


class AttendLinearRule(Rule):
    """The rule of :class:`metablock.operators.attend_linear.AttendLinear`."""

    takes = ("grid", "tokens")
