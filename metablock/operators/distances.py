"""The distances between queries and keys, and the look-up of a value per distance."""

from __future__ import annotations

import math
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .extents import half_steps
from .rules.distances import AtDistancesRule, DistancesRule


class Distances(DistancesRule, nn.Module):
    """Each different distance ``d`` from a key to a query in log-spaced coordinates: ``() -> (1, T, rank)``.

    ``sign(d) log2(1 + reach |d| / (extent - 1)) / log2(reach)`` on each axis, or ``sign(d) ln(1 + |d|)``. A key of a coarser grid
    stands at the mean position of the queries that adaptive pooling puts into its bin.

    Args:
        keys: extents of the keys' grid.
        extent: extents of the queries' grid that normalise the coordinates; by default those of ``grid``.
        reach: factor on the normalised distances.
        normalise: False for the second formula, which no extent and no reach enters.

    Swin V2 (arXiv 2111.09883), with the normalisation of its code, which TransNeXt's (arXiv 2311.17132) shares. The last axis
    changes fastest.

    Example:
        >>> Distances((7, 7), keys=[7, 7])().shape
        torch.Size([1, 169, 2])
    """

    coordinates: Tensor

    def __init__(
        self,
        grid: tuple[int, ...],
        *,
        keys: list[int],
        extent: list[int] | None = None,
        reach: float = 8.0,
        normalise: bool = True,
    ):
        super().__init__()
        self.grid, self.keys, self.extent, self.reach = tuple(grid), tuple(keys), tuple(extent or grid), reach
        self.normalise = normalise
        total = prod(len(set(half_steps(n, m))) for n, m in zip(grid, keys, strict=True))
        self.register_buffer("coordinates", torch.empty(1, total, len(grid)), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        axes = []
        for n, m, extent in zip(self.grid, self.keys, self.extent, strict=True):
            steps = torch.tensor(sorted(set(half_steps(n, m))), dtype=torch.float64, device=self.coordinates.device)
            distance = steps / 2 * (self.reach / max(1, extent - 1) if self.normalise else 1)
            unit = math.log(self.reach) if self.normalise else 1
            axes.append(distance.sign() * torch.log1p(distance.abs()) / unit)
        self.coordinates.copy_(torch.cartesian_prod(*axes).view(self.coordinates.shape))

    def forward(self) -> Tensor:
        return self.coordinates


class AtDistances(AtDistancesRule, nn.Module):
    """Looks up the value of each pair's distance: ``(1, T, heads) -> (heads, N, M)``, query by key.

    Args:
        keys: extents of the keys' grid.

    The ``T`` values belong to the distances of :class:`Distances`, in its order.

    Example:
        >>> AtDistances((7, 7), keys=[7, 7])(torch.zeros(1, 169, 4)).shape
        torch.Size([4, 49, 49])
    """

    index: Tensor

    def __init__(self, grid: tuple[int, ...], *, keys: list[int]):
        super().__init__()
        self.grid, self.keys = tuple(grid), tuple(keys)
        self.register_buffer("index", torch.empty(prod(grid), prod(keys), dtype=torch.long), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        index = torch.zeros(1, 1, dtype=torch.long, device=self.index.device)
        for n, m in zip(self.grid, self.keys, strict=True):
            steps = half_steps(n, m)
            number = {step: i for i, step in enumerate(sorted(set(steps)))}
            distance = torch.tensor([number[step] for step in steps], device=index.device).view(n, m)
            # Axis by axis, (i, j) x (i_a, j_a): the index of the axes so far becomes the slower digit.
            index = (index[:, None, :, None] * len(number) + distance[None, :, None, :]).flatten(2, 3).flatten(0, 1)
        self.index.copy_(index)

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(self.index, x[0]).permute(2, 0, 1)
