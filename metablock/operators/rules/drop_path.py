"""What is known of ``drop_path`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import LeafRule
from .dropout import checked


class DropPathRule(LeafRule):
    """The rule of :class:`metablock.operators.drop_path.DropPath`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, rate: float) -> Feature:
        checked(rate)
        return x
