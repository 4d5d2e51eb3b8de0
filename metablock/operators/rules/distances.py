"""What is known of ``distances`` without torch."""

from __future__ import annotations

from . import Rule


class DistancesRule(Rule):
    """The rule of :class:`metablock.operators.distances.Distances`."""

    takes = ()


class AtDistancesRule(Rule):
    """The rule of :class:`metablock.operators.distances.AtDistances`."""

    takes = ("tokens",)
