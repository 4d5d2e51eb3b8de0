"""What is known of ``keys_seen`` without torch."""

from __future__ import annotations

from . import LeafRule


class KeysSeenRule(LeafRule):
    """The rule of :class:`metablock.operators.keys_seen.KeysSeen`."""

    takes = ("grid", "tokens")
