"""What is known of ``attend_routed`` without torch."""

from __future__ import annotations

from . import Rule


class AttendRoutedRule(Rule):
    """The rule of :class:`metablock.operators.attend_routed.AttendRouted`."""

    takes = ("grid",)
