"""What is known of ``attend_routed`` without torch."""

from __future__ import annotations

from . import LeafRule


class AttendRoutedRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_routed.AttendRouted`."""

    takes = ("grid",)
