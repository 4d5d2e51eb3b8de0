"""What is known of ``rotate`` without torch."""

from __future__ import annotations

from . import LeafRule


class RotateRule(LeafRule):
    """The rule of :class:`metablock.operators.rotate.Rotate`."""

    takes = ("grid", "tokens")
