"""What is known of ``adaptive_max_pool`` without torch."""

from __future__ import annotations

from ...shape import Feature
from ..extents import Extent
from . import LeafRule
from .adaptive_avg_pool import sized


class AdaptiveMaxPoolRule(LeafRule):
    """The rule of :class:`metablock.operators.adaptive_max_pool.AdaptiveMaxPool`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, size: Extent) -> Feature:
        return x.with_(grid=sized(size, x.rank))
