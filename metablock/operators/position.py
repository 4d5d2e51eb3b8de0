"""A learned table of positions."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ..shape import Feature
from .adaptive_avg_pool import sized
from .extents import Extent, expand
from .resize import check, interpolate


class Position(nn.Module):
    """``x + weight``, one learned vector a position: ``(b, n, c) -> (b, n, c)``, or on the grid.

    Args:
        mode: how a table of another size is resampled, when a checkpoint is loaded or on the way (``"bicubic"``,
            ``"bilinear"``, ``"nearest"``; edges aligned).
        antialias: whether that resampling is low-passed.
        size: the table's own extents, one number or one an axis: each ``forward`` brings it to the grid. By default it has
            the grid's; ``mode`` and ``antialias`` are then not read.

    The table is ``(1, prefix + prod(grid), c)``: prefix tokens first, then the grid row by row. ViT, Dosovitskiy et al. 2021
    (arXiv 2010.11929). It starts as a truncated normal of std 0.02.
    """

    takes = ("tokens", "grid")

    def __init__(
        self,
        c: int,
        grid: tuple[int, ...],
        prefix: int,
        *,
        mode: str = "bicubic",
        antialias: bool = True,
        size: int | list[int] | None = None,
    ):
        super().__init__()
        self.grid, self.prefix, self.mode, self.antialias = tuple(grid), prefix, mode, antialias
        self.size = None if size is None else expand(size, len(self.grid))
        self.weight = nn.Parameter(torch.empty(1, prefix + prod(self.size or self.grid), c))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=0.02)

    @staticmethod
    def shape(x: Feature, *, mode: str, antialias: bool, size: Extent | None) -> Feature:
        if size is not None:
            check(mode, x.rank, antialias)
            sized(size, x.rank)
        return x

    def resized(self, table: Tensor) -> Tensor | None:
        """Another table (``(prefix + m, c)``, of a square or cube) as one of this size; None if it is none."""
        size = self.size or self.grid
        table = table.reshape(-1, table.shape[-1])
        side = round((len(table) - self.prefix) ** (1 / len(size)))
        if side < 1 or side ** len(size) != len(table) - self.prefix or table.shape[-1] != self.weight.shape[-1]:
            return None
        prefix, rest = table[: self.prefix], table[self.prefix :]
        places = rest.T.reshape(1, -1, *[side] * len(size)).float()
        made = interpolate(places, tuple(size), self.mode, self.antialias and len(size) == 2)
        return torch.cat([prefix, made.flatten(2)[0].T.to(table.dtype)])[None]

    def forward(self, x: Tensor) -> Tensor:
        if self.size is None:
            return x + self.weight.view(1, *x.shape[1:])
        first, table = self.weight.split([self.prefix, prod(self.size)], 1)
        table = interpolate(table.mT.unflatten(2, self.size), self.grid, self.mode, self.antialias).flatten(2).mT
        return x + torch.cat([first, table], 1).view(1, *x.shape[1:])
