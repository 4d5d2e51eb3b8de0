"""What is known of ``overlap`` without torch."""

from __future__ import annotations

from . import Rule


class OverlapRule(Rule):
    """The rule of :class:`metablock.operators.overlap.Overlap`."""

    takes = ("grid",)
