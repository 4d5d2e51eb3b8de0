"""What is known of ``attend_linear`` without torch."""

from __future__ import annotations

from . import LeafRule


class AttendLinearRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_linear.AttendLinear`."""

    takes = ("grid", "tokens")
