"""A learned bias for each pair of a query and a key."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from .rules.pair_bias import PairBiasRule
from .tables import GridTable, draw_table


class PairBias(PairBiasRule, nn.Module):
    """Absolute position bias: ``() -> (heads, queries, keys)``, one learned number each.

    Args:
        heads: number of heads.
        queries: number of queries.
        keys: number of keys.
        std: standard deviation of the initial table (truncated normal).
        query_grid: extents of the queries' grid, if they have one; prefix tokens come before it.
        key_grid: extents of the keys' grid.

    CMT, Guo et al. 2022 (arXiv 2107.06263), which calls it relative.

    Example:
        >>> PairBias(heads=2, queries=49, keys=16)().shape
        torch.Size([2, 49, 16])
    """

    roles = {"weight": "table"}

    def __init__(
        self,
        *,
        heads: int,
        queries: int,
        keys: int,
        std: float = 0.02,
        query_grid: list[int] | None = None,
        key_grid: list[int] | None = None,
    ):
        super().__init__()
        self.std, self.query_grid, self.key_grid = std, query_grid, key_grid
        self.weight = nn.Parameter(torch.empty(heads, queries, keys))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        draw_table(self.weight, self.std)

    def tables(self) -> dict[str, tuple[GridTable, ...]]:
        """How the queries and the keys lie on their grids."""
        sides = [(axis, tuple(grid)) for axis, grid in enumerate((self.query_grid, self.key_grid), 1) if grid]
        return {"weight": tuple(GridTable(axis, grid, self.weight.shape[axis] - prod(grid)) for axis, grid in sides)}

    def forward(self) -> Tensor:
        return self.weight
