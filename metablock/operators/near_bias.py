"""A learned bias for each neighbour of a query."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attend_near import starts
from .rules.near_bias import NearBiasRule
from .tables import GridTable, draw_table


class NearBias(NearBiasRule, nn.Module):
    """Relative position bias of neighbourhoods: ``() -> (heads, N, K)``, ``N = prod(grid)``, ``K = prod(size)``.

    ``bias[h, i, j] = weight[index(j - i), h]``: a table of the ``K`` distances, row by row. With the border ``"clamp"`` a query
    may stand at the side of its neighbourhood, and the table has ``prod(2 size - 1)`` distances.

    Args:
        heads: number of heads.
        size: extents of a neighbourhood, one odd number per axis.
        clamp: whether neighbourhoods move inside the map at the border.
        std: standard deviation of the initial table (truncated normal).

    TransNeXt (arXiv 2311.17132, there ``(heads, K)``), and NAT (arXiv 2204.07143, there ``(heads, *(2 size - 1))``).

    Example:
        >>> NearBias((5, 6), heads=2, size=[3, 3])().shape
        torch.Size([2, 30, 9])
    """

    roles = {"weight": "table"}
    index: Tensor

    def __init__(self, grid: tuple[int, ...], *, heads: int, size: list[int], clamp: bool = False, std: float = 0.02):
        super().__init__()
        self.grid, self.size, self.clamp, self.std = tuple(grid), tuple(size), clamp, std
        self.weight = nn.Parameter(torch.empty(prod(2 * s - 1 if clamp else s for s in size), heads))
        self.register_buffer("index", torch.empty(prod(grid), prod(size), dtype=torch.long), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        draw_table(self.weight, self.std)
        index = torch.zeros(1, 1, dtype=torch.long, device=self.index.device)
        for g, s in zip(self.grid, self.size, strict=True):
            place, taps = torch.arange(g, device=index.device), torch.arange(s, device=index.device)
            distance = taps.expand(g, s)
            if self.clamp:
                distance = starts(g, s, s // 2, index.device)[:, None] + taps - place[:, None] + s - 1
            # Axis by axis, (i, j) x (i_a, j_a): the index of the axes so far becomes the slower digit.
            wide = 2 * s - 1 if self.clamp else s
            index = (index[:, None, :, None] * wide + distance[None, :, None, :]).flatten(2, 3).flatten(0, 1)
        self.index.copy_(index)

    def tables(self) -> dict[str, tuple[GridTable, ...]]:
        """How the table lies on the distances of a neighbourhood. It belongs to one neighbourhood: it is not interpolated."""
        return {"weight": (GridTable(0, self.size, offsets=self.clamp, mode=None),)}

    def forward(self) -> Tensor:
        return F.embedding(self.index, self.weight).permute(2, 0, 1)
