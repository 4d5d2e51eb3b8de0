"""What is known of ``resize`` without torch."""

from __future__ import annotations

from ...errors import error, suggest
from ...shape import Feature
from ..extents import Extent
from . import LeafRule
from .adaptive_avg_pool import sized

MODES = {
    "nearest": {1: "nearest", 2: "nearest", 3: "nearest"},
    "bilinear": {1: "linear", 2: "bilinear", 3: "trilinear"},
    "bicubic": {2: "bicubic"},
}


class ResizeRule(LeafRule):
    """The rule of :class:`metablock.operators.resize.Resize`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, size: Extent, mode: str, antialias: bool, align_corners: bool) -> Feature:
        check(mode, x.rank, antialias)
        if align_corners and mode == "nearest":
            raise error("'nearest' has no align_corners", hint="leave it out")
        return x.with_(grid=sized(size, x.rank))


class AntialiasedUpsampleRule(LeafRule):
    """The rule of :class:`metablock.operators.resize.AntialiasedUpsample`."""

    takes = ("map",)


class ResizeLikeRule(LeafRule):
    """The rule of :class:`metablock.operators.resize.ResizeLike`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, like: Feature, *, mode: str) -> Feature:
        check(mode, x.rank)
        if like.rank != x.rank:
            raise error(f"a map of rank {x.rank} has not the extents of {like}", hint="both have as many axes")
        return x.with_(grid=like.grid)


def check(mode: str, rank: int, antialias: bool = False) -> None:
    """Raises SpecError if torch has no such interpolation."""
    if mode not in MODES:
        raise error(f"unknown mode '{mode}'", hint=suggest(mode, MODES, f"one of {', '.join(MODES)}"))
    if rank not in MODES[mode]:
        ranks = " and ".join(f"{r}-D" for r in MODES[mode])
        raise error(
            f"'{mode}' interpolates in {ranks} only, this map has {rank} dimension{'s' * (rank > 1)}", hint='try "bilinear"'
        )
    if antialias and (rank != 2 or mode == "nearest"):
        raise error(f"no antialias for '{mode}' in {rank}-D", hint="it exists in 2-D, for bilinear and bicubic")
