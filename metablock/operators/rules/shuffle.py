"""What is known of ``shuffle`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule


class ShuffleRule(LeafRule):
    """The rule of :class:`metablock.operators.shuffle.Shuffle`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, groups: int) -> Feature:
        if groups < 1 or x.c % groups:
            raise error(f"{groups} groups do not divide {x.c} channels", hint="choose a divisor of the width")
        return x


class ShuffleLastRule(LeafRule):
    """The rule of :class:`metablock.operators.shuffle.ShuffleLast`."""

    takes = ("grid", "tokens", "vector")
