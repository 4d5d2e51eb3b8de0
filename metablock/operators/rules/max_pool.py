"""What is known of ``max_pool`` without torch."""

from __future__ import annotations

from ...shape import Feature
from ..extents import Extent, slide
from . import LeafRule
from .avg_pool import pooled


class MaxPoolRule(LeafRule):
    """The rule of :class:`metablock.operators.max_pool.MaxPool`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, kernel: Extent, stride: Extent, padding: Extent | str | None) -> Feature:
        if isinstance(padding, str):
            return x.with_(grid=slide(x.grid, kernel, stride, padding))
        return x.with_(grid=pooled(x.grid, kernel, stride, padding))
