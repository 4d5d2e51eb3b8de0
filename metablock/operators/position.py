"""A learned table of positions."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from .extents import expand
from .resize import interpolate
from .rules.position import PositionRule
from .tables import GridTable


class Position(PositionRule, nn.Module):
    """``x + weight``, one learned vector per position: ``(b, n, c) -> (b, n, c)``, or on the grid.

    Args:
        mode: how to resample a table of another size, from a checkpoint or in each ``forward`` (``"bicubic"``,
            ``"bilinear"``, ``"nearest"``; edges aligned).
        antialias: whether to low-pass in that resampling.
        size: the table's own extents, one number or one per axis: each ``forward`` resamples it to the grid. By default the
            table has the grid's extents, and only checkpoints are resampled.

    The table is ``(1, prefix + prod(grid), c)``: prefix tokens first, then the grid row by row. ViT, Dosovitskiy et al. 2021
    (arXiv 2010.11929). It starts as a truncated normal of std 0.02.

    Example:
        >>> position = Position(8, (4, 4), 1)
        >>> position.weight.shape, position(torch.zeros(2, 17, 8)).shape
        (torch.Size([1, 17, 8]), torch.Size([2, 17, 8]))
    """

    roles = {"weight": "table"}

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

    def tables(self) -> dict[str, tuple[GridTable, ...]]:
        """How the table lies on its grid."""
        return {"weight": (GridTable(1, self.size or self.grid, self.prefix, mode=self.mode, antialias=self.antialias),)}

    def resized(self, table: Tensor, grid: tuple[int, ...] | None = None) -> Tensor | None:
        """Interpolates a table from another grid to this one.

        Args:
            table: ``(prefix + m, c)``, or any shape that flattens to it.
            grid: the extents of its grid, ``m`` places; by default a square (a cube).

        Returns:
            The table ``(1, prefix + prod(size), c)``; None if it does not lie on the grid, or ``c`` is another width.
        """
        (lie,) = self.tables()["weight"]
        table = table.reshape(1, -1, table.shape[-1])
        old = lie.square(table.shape[1]) if grid is None else tuple(grid)
        if old is None or lie.rows(old) != table.shape[1] or table.shape[-1] != self.weight.shape[-1]:
            return None
        return lie.resampled(table, old)

    def forward(self, x: Tensor) -> Tensor:
        if self.size is None:
            return x + self.weight.view(x.shape[1:])
        first, table = self.weight.split([self.prefix, prod(self.size)], 1)
        table = interpolate(table.mT.unflatten(2, self.size), self.grid, self.mode, self.antialias).flatten(2).mT
        return x + torch.cat([first, table], 1).view(x.shape[1:])
