"""What is known of ``overlap`` without torch."""

from __future__ import annotations

from . import LeafRule


class OverlapRule(LeafRule):
    """The rule of :class:`metablock.operators.overlap.Overlap`."""

    takes = ("grid",)
