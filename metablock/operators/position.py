"""A learned table of positions."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn


class Position(nn.Module):
    """``x + weight``, one learned vector a position: ``(b, n, c) -> (b, n, c)``, or on the grid.

    Args:
        mode: how a table of another size is resampled when a checkpoint is loaded (``"bicubic"``, ``"bilinear"``,
            ``"nearest"``).
        antialias: whether that resampling is low-passed. Neither is read by ``forward``.

    The table is ``(1, prefix + prod(grid), c)``: prefix tokens first, then the grid row by row. ViT, Dosovitskiy et al. 2021
    (arXiv 2010.11929). It starts as a truncated normal of std 0.02.
    """

    takes = ("tokens", "grid")

    def __init__(self, c: int, grid: tuple[int, ...], prefix: int, *, mode: str = "bicubic", antialias: bool = True):
        super().__init__()
        self.grid, self.prefix, self.mode, self.antialias = tuple(grid), prefix, mode, antialias
        self.weight = nn.Parameter(torch.empty(1, prefix + prod(grid), c))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight.view(1, *x.shape[1:])
