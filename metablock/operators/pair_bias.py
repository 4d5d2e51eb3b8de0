"""A learned bias for each pair of a query and a key."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PairBias(nn.Module):
    """Absolute position bias: ``() -> (heads, queries, keys)``, one learned number each.

    Args:
        heads: number of heads.
        queries: number of queries.
        keys: number of keys.
        std: standard deviation of the initial table (truncated normal).

    CMT, Guo et al. 2022 (arXiv 2107.06263), which calls it relative.

    Example:
        >>> PairBias(heads=2, queries=49, keys=16)().shape
        torch.Size([2, 49, 16])
    """

    takes = ()
    roles = {"weight": "table"}

    def __init__(self, *, heads: int, queries: int, keys: int, std: float = 0.02):
        super().__init__()
        self.std = std
        self.weight = nn.Parameter(torch.empty(heads, queries, keys))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=self.std)

    def forward(self) -> Tensor:
        return self.weight
