"""What is known of ``times`` without torch."""

from __future__ import annotations

from . import LeafRule


class TimesRule(LeafRule):
    """The rule of :class:`metablock.operators.times.Times`."""

    takes = ("map", "grid", "tokens", "vector")
