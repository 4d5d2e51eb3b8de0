"""What is known of ``hungarian`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import Rule


class HungarianRule(Rule):
    """The rule of :class:`metablock.operators.hungarian.Hungarian`."""

    takes = ("tokens",)

    @staticmethod
    def shape(logits: Feature, boxes: Feature, objects: Feature, object_boxes: Feature) -> Feature:
        return Feature("vector", 3)
