"""A learned bias for each distance between a query and a key that stands between the places of the grid."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from .rules.moving_bias import MovingBiasRule
from .sample import in_pixels, read_pixels
from .tables import GridTable, draw_table


class MovingBias(MovingBiasRule, nn.Module):
    """Relative position bias of keys at any places: ``(b, ..., g * rank), (b, ..., rank) -> (b, heads, N, M)``.

    ``forward(at, queries)`` with the places of ``M`` keys, of each of ``g`` groups of consecutive heads its own, and those of
    ``N`` queries. The table has a number for each head and distance on the grid, in the rows of :class:`RelativeBias`; it is read
    at ``queries - at``, linearly between distances along each axis. Beyond the last one the bias falls to 0 within one place.

    Args:
        heads: number of heads.
        kind: what the coordinates count, as of :class:`Coordinates`, on the grid of the queries.
        std: standard deviation of the initial table (truncated normal).

    DAT, Xia et al. 2022, Eq. 8 (arXiv 2201.00520), whose table is ``(heads, *(2 grid - 1))``.

    Example:
        >>> bias = MovingBias((7, 7), heads=4)
        >>> bias.weight.shape, bias(torch.zeros(1, 9, 4), torch.zeros(1, 7, 7, 2)).shape
        (torch.Size([169, 4]), torch.Size([1, 4, 49, 9]))
    """

    roles = {"weight": "table"}

    def __init__(self, grid: tuple[int, ...], *, heads: int, kind: str = "index", std: float = 0.02):
        super().__init__()
        self.grid, self.kind, self.std = tuple(grid), kind, std
        self.weight = nn.Parameter(torch.empty(prod(2 * g - 1 for g in grid), heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        draw_table(self.weight, self.std)

    def tables(self) -> dict[str, tuple[GridTable, ...]]:
        """How the table lies on the distances of its grid."""
        return {"weight": (GridTable(0, self.grid, offsets=True, mode="bicubic"),)}

    def forward(self, at: Tensor, queries: Tensor) -> Tensor:
        return read_biases(self.weight, at, queries, self.grid, self.kind)


def read_biases(weight: Tensor, at: Tensor, queries: Tensor, grid: tuple[int, ...], kind: str) -> Tensor:
    """:class:`MovingBias` of a table ``weight (distances, heads)``."""
    rank = len(grid)
    keys = at.flatten(1, -2).unflatten(-1, (-1, rank)).transpose(1, 2)  # b, g, M, rank
    groups, keys = keys.shape[1], in_pixels(keys, grid, kind).unsqueeze(2)
    distances = in_pixels(queries.flatten(1, -2), grid, kind)[:, None, :, None] - keys  # b, g, N, M, rank
    rows = torch.stack([part + (n - 1) for part, n in zip(distances.unbind(-1), grid, strict=True)], -1).flatten(0, 1)
    table = weight.mT.unflatten(1, tuple(2 * n - 1 for n in grid)).unflatten(0, (groups, -1))
    table = table.expand(at.shape[0], *table.shape).flatten(0, 1)  # b g, heads / g, *distances
    return read_pixels(table, rows).unflatten(0, (-1, groups)).flatten(1, 2)


torch.fx.wrap("read_biases")  # reads sizes, which torch.fx does not know: one node of a graph that it traces
