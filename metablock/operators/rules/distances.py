"""What is known of ``distances`` without torch."""

from __future__ import annotations

from . import LeafRule


class DistancesRule(LeafRule):
    """The rule of :class:`metablock.operators.distances.Distances`."""

    takes = ()


class AtDistancesRule(LeafRule):
    """The rule of :class:`metablock.operators.distances.AtDistances`."""

    takes = ("tokens",)
