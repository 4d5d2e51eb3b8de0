"""What is known of ``window_mask`` without torch."""

from __future__ import annotations

from . import LeafRule


class WindowMaskRule(LeafRule):
    """The rule of :class:`metablock.operators.window_mask.WindowMask`."""

    takes = ("grid",)
