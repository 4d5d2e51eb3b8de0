"""What is known of ``times`` without torch."""

from __future__ import annotations

from . import Rule


class TimesRule(Rule):
    """The rule of :class:`metablock.operators.times.Times`."""

    takes = ("map", "grid", "tokens", "vector")
