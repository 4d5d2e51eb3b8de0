"""What is known of ``knob`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import LeafRule


class KnobRule(LeafRule):
    """The rule of :class:`metablock.operators.knob.Knob`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature) -> Feature:
        return x.with_(layout="vector", c=1, grid=(), prefix=0)
