"""What is known of ``valid`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import LeafRule


class ValidRule(LeafRule):
    """The rule of :class:`metablock.operators.valid.Valid`."""

    takes = ("ids",)

    @staticmethod
    def shape(x: Feature) -> Feature:
        return x.with_(layout="grid", c=1, padding_id=None)
