"""What is known of ``position`` without torch."""

from __future__ import annotations

from math import prod

from ...shape import Feature
from ..extents import Extent, expand
from . import LeafRule, Size, TensorShapes
from .adaptive_avg_pool import sized
from .resize import check


class PositionRule(LeafRule):
    """The rule of :class:`metablock.operators.position.Position`."""

    takes = ("tokens", "grid")

    @staticmethod
    def shape(x: Feature, *, mode: str, antialias: bool, size: Extent | None) -> Feature:
        if size is not None:
            check(mode, x.rank, antialias)
            sized(size, x.rank)
        return x

    @staticmethod
    def tensors(c: int, grid: Size, prefix: int, *, size: Extent | None) -> TensorShapes:
        places = grid if size is None else expand(size, len(grid))
        return TensorShapes({"weight": (1, prefix + prod(places), c)})
