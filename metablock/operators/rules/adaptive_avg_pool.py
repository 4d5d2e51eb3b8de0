"""What is known of ``adaptive_avg_pool`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand
from . import LeafRule


class AdaptiveAvgPoolRule(LeafRule):
    """The rule of :class:`metablock.operators.adaptive_avg_pool.AdaptiveAvgPool`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, size: Extent) -> Feature:
        return x.with_(grid=sized(size, x.rank))


def sized(size: Extent, rank: int) -> tuple[int, ...]:
    """``size`` with one number per axis. Raises SpecError if one is below 1."""
    sizes = expand(size, rank)
    if min(sizes, default=1) < 1:
        raise error(f"a size of {'x'.join(map(str, sizes))}", hint="a size is at least 1")
    return sizes
