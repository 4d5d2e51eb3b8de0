"""What is known of ``tile`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand
from . import LeafRule


class TileRule(LeafRule):
    """The rule of :class:`metablock.operators.tile.Tile`."""

    takes = ("grid", "map")

    @staticmethod
    def shape(x: Feature, *, n: Extent, over: str) -> Feature:
        if over not in ("tokens", "channels"):
            raise error(f'`tile(over="{over}")`', hint='"tokens" or "channels"')
        copies = expand(n, 1 if over == "channels" else x.rank)
        if min(copies) < 1:
            raise error(f"{n} copies", hint="at least 1" if over == "channels" else "at least 1 along each axis")
        if over == "channels":
            return x.with_(c=copies[0] * x.c)
        return x.with_(grid=tuple(g * k for g, k in zip(x.grid, copies, strict=True)))
