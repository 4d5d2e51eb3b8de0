"""Interpolation to a given size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error, suggest
from ..shape import Feature
from .adaptive_avg_pool import sized
from .extents import Extent, expand

# What a mode is called in torch, by the number of dimensions.
MODES = {
    "nearest": {1: "nearest", 2: "nearest", 3: "nearest"},
    "bilinear": {1: "linear", 2: "bilinear", 3: "trilinear"},
    "bicubic": {2: "bicubic"},
}


class Resize(nn.Module):
    """Interpolation: ``(b, c, *grid) -> (b, c, *size)``.

    Args:
        size: the grid that leaves, one number or one an axis.
        mode: ``"bilinear"`` (linear in 1-D, trilinear in 3-D), ``"nearest"`` or ``"bicubic"`` (2-D).
        antialias: whether a smaller image is low-passed first (2-D, bilinear and bicubic).
        align_corners: whether the outermost positions of both grids lie on each other; by default the outermost edges do.
    """

    takes = ("map",)

    def __init__(
        self,
        rank: int,
        *,
        size: int | list[int],
        mode: str = "bilinear",
        antialias: bool = False,
        align_corners: bool = False,
    ):
        super().__init__()
        self.size = expand(size, rank)
        self.mode, self.antialias, self.align_corners = mode, antialias, align_corners

    @staticmethod
    def shape(x: Feature, *, size: Extent, mode: str, antialias: bool, align_corners: bool) -> Feature:
        check(mode, x.rank, antialias)
        if align_corners and mode == "nearest":
            raise error("'nearest' has no align_corners", hint="leave it out")
        return x.with_(grid=sized(size, x.rank))

    def forward(self, x: Tensor) -> Tensor:
        return interpolate(x, self.size, self.mode, self.antialias, self.align_corners)


def check(mode: str, rank: int, antialias: bool = False) -> None:
    """Raises where this way to interpolate does not exist."""
    if mode not in MODES:
        raise error(f"unknown mode '{mode}'", hint=suggest(mode, MODES, f"one of {', '.join(MODES)}"))
    if rank not in MODES[mode]:
        ranks = " and ".join(f"{r}-D" for r in MODES[mode])
        raise error(
            f"'{mode}' interpolates in {ranks} only, this map has {rank} dimension{'s' * (rank > 1)}", hint='try "bilinear"'
        )
    if antialias and (rank != 2 or mode == "nearest"):
        raise error(f"no antialias for '{mode}' in {rank}-D", hint="it exists in 2-D, for bilinear and bicubic")


def interpolate(x: Tensor, size: tuple[int, ...], mode: str, antialias: bool = False, align_corners: bool = False) -> Tensor:
    """``F.interpolate`` with one name a mode in all dimensions."""
    corners = None if mode == "nearest" else align_corners
    return F.interpolate(x, size, mode=MODES[mode][x.dim() - 2], align_corners=corners, antialias=antialias)
