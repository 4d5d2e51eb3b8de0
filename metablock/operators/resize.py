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


class Resize:
    """Interpolation: ``(b, c, *grid) -> (b, c, *size)``. Makes torch's ``nn.Upsample``.

    Args:
        size: the output grid, one number or one per axis.
        mode: ``"bilinear"`` (linear in 1-D, trilinear in 3-D), ``"nearest"`` or ``"bicubic"`` (2-D).
        antialias: whether to low-pass the map before it becomes smaller (2-D, bilinear and bicubic). The module is then an
            :class:`AntialiasedUpsample`.
        align_corners: whether the outermost positions of both grids coincide; by default the outermost edges do.

    Example:
        >>> import torch
        >>> Resize(2, size=[4, 6])(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 4, 6])
    """

    takes = ("map",)

    def __new__(  # type: ignore[misc]
        cls,
        rank: int,
        *,
        size: int | list[int],
        mode: str = "bilinear",
        antialias: bool = False,
        align_corners: bool = False,
    ) -> nn.Upsample:
        corners = None if mode == "nearest" else align_corners
        return (AntialiasedUpsample if antialias else nn.Upsample)(expand(size, rank), None, MODES[mode][rank], corners)

    @staticmethod
    def shape(x: Feature, *, size: Extent, mode: str, antialias: bool, align_corners: bool) -> Feature:
        check(mode, x.rank, antialias)
        if align_corners and mode == "nearest":
            raise error("'nearest' has no align_corners", hint="leave it out")
        return x.with_(grid=sized(size, x.rank))


class AntialiasedUpsample(nn.Upsample):
    """``nn.Upsample`` that low-passes the map before it makes it smaller.

    Example:
        >>> import torch
        >>> AntialiasedUpsample((2, 2), mode="bilinear")(torch.zeros(1, 1, 8, 8))
        tensor([[[[0., 0.],
                  [0., 0.]]]])
    """

    takes = ("map",)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, self.size, mode=self.mode, align_corners=self.align_corners, antialias=True)


class ResizeLike(nn.Module):
    """Interpolation to the extents of another map: ``(b, c, *grid), (b, d, *size) -> (b, c, *size)``.

    Args:
        mode: as :class:`Resize` has it.

    Example:
        >>> import torch
        >>> ResizeLike(2, mode="nearest")(torch.tensor([[[[1.0, 0.0]]]]), torch.zeros(1, 3, 1, 4))
        tensor([[[[1., 1., 0., 0.]]]])
    """

    takes = ("map",)

    def __init__(self, rank: int, *, mode: str = "bilinear"):
        super().__init__()
        self.mode = MODES[mode][rank]

    @staticmethod
    def shape(x: Feature, like: Feature, *, mode: str) -> Feature:
        check(mode, x.rank)
        if like.rank != x.rank:
            raise error(f"a map of rank {x.rank} has not the extents of {like}", hint="both have as many axes")
        return x.with_(grid=like.grid)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode=self.mode, align_corners=None if self.mode == "nearest" else False)

    def extra_repr(self) -> str:
        return f'"{self.mode}"'


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


def interpolate(x: Tensor, size: tuple[int, ...], mode: str, antialias: bool = False) -> Tensor:
    """``F.interpolate`` of ``(b, c, *grid)`` to ``size``, edges aligned, with one name per mode in all dimensions."""
    corners = None if mode == "nearest" else False
    return F.interpolate(x, size, mode=MODES[mode][len(size)], align_corners=corners, antialias=antialias)
