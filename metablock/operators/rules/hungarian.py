"""What is known of ``hungarian`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import LeafRule


class HungarianRule(LeafRule):
    """The rule of :class:`metablock.operators.hungarian.Hungarian`."""

    takes = ("tokens",)

    @staticmethod
    def shape(logits: Feature, boxes: Feature, objects: Feature, object_boxes: Feature) -> Feature:
        return Feature("vector", 3)
