"""What is known of ``crop`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand
from . import LeafRule
from .adaptive_avg_pool import sized


class CropRule(LeafRule):
    """The rule of :class:`metablock.operators.crop.Crop`."""

    takes = ("grid", "map")

    @staticmethod
    def shape(x: Feature, *, size: Extent, start: Extent | None) -> Feature:
        sizes = sized(size, x.rank)
        starts = (0,) * x.rank if start is None else expand(start, x.rank)
        for extent, n, first in zip(x.grid, sizes, starts, strict=True):
            if first + n > extent:
                place = f" from {first} on" if first else ""
                raise error(f"a crop of {n}{place}, of an extent of {extent}", hint="a smaller part, or `pad` before it")
        return x.with_(grid=sizes)
