"""A learned bias for each distance between two positions of a window."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.relative_bias import RelativeBiasRule, table_places
from .tables import GridTable, draw_table


class RelativeBias(RelativeBiasRule, nn.Module):
    """Relative position bias: ``() -> (heads, N, M)``, ``N = prefix + prod(grid)``, query by key.

    ``bias[h, i, j] = weight[index(i - j), h]``, where the index counts the distances ``d_a = i_a - j_a + g_a - 1`` of the
    axes row by row; in 2-D ``d_y * (2 g_x - 1) + d_x``. With ``mirror`` it is that of ``|i - j|``: ``|d_y| g_x + |d_x|``. Here
    ``g`` are the extents of the keys' grid, and where the queries stand on every ``s``-th of its places, ``i`` is ``s`` times the
    query's own. On grids that do not fit so, the table has what occurs: on an axis of ``n`` queries ``s (n - 1) + g``
    (with ``mirror`` one more than ``s (n - 1)`` or ``g - 1``, whichever is more).

    Args:
        heads: number of heads.
        std: standard deviation of the initial table (truncated normal); 0: zeros.
        mirror: whether both directions of an axis share a number (LeViT, arXiv 2104.01136), so that there are ``prod(g)``.
        prefix: 1 if there is a class token. The table then has more rows.
        numbers: how many: 3, the class token's bias to all tokens, theirs to it, and its own to itself (BEiT, arXiv 2106.08254);
            or 2, the first of which is that to itself, too (MSG-Transformer, arXiv 2105.15168).
        keys: extents of the keys' grid, by default those of the queries'.
        stride: the places of the keys' grid from a query to the next, one number an axis (LeViT's subsampling).

    Swin, Liu et al. 2021 (arXiv 2103.14030); the table is ``(prod(2 g - 1), heads)`` as in its checkpoints, for one to three
    dimensions.

    Example:
        >>> bias = RelativeBias((7, 7), heads=3)
        >>> bias.weight.shape, bias().shape
        (torch.Size([169, 3]), torch.Size([3, 49, 49]))
    """

    roles = {"weight": "table"}
    index: Tensor

    def __init__(
        self,
        grid: tuple[int, ...],
        *,
        heads: int,
        std: float = 0.02,
        prefix: int = 0,
        numbers: int = 3,
        mirror: bool = False,
        keys: list[int] | None = None,
        stride: list[int] | None = None,
    ):
        super().__init__()
        self.grid, self.std, self.prefix, self.mirror = tuple(keys or grid), std, prefix, mirror
        self.queries, self.stride, self.numbers = tuple(grid), tuple(stride or [1] * len(grid)), numbers * prefix
        axes = list(zip(self.grid, self.queries, self.stride, strict=True))
        self.fits = all(-(-g // s) == n for g, n, s in axes)
        self.places = table_places(self.queries, keys, stride, mirror)
        self.weight = nn.Parameter(torch.empty(prod(self.places) + self.numbers, heads))
        shape = prefix + prod(grid), prefix + prod(self.grid)
        self.register_buffer("index", torch.empty(shape, dtype=torch.long), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        draw_table(self.weight, self.std)
        if self.index.is_meta:
            return  # there is no number to set
        index, rows = self.index[self.prefix :, self.prefix :], len(self.weight)
        index.copy_(distances(self.grid, self.index.device, self.mirror, self.queries, self.stride, self.places))
        if self.prefix:
            first = rows - self.numbers
            self.index[0], self.index[:, 0], self.index[0, 0] = first, first + 1, first + (2 if self.numbers == 3 else 0)

    def tables(self) -> dict[str, tuple[GridTable, ...]]:
        """How the table lies on the distances of its grid. It is interpolated as timm does for Swin: bicubic in 2-D.

        Between grids that do not fit it belongs to both, and cannot be.
        """
        if not self.fits:
            return {}
        return {"weight": (GridTable(0, self.grid, self.numbers, True, not self.mirror, self.mirror, "bicubic"),)}

    def resized(self, table: Tensor, grid: tuple[int, ...] | None = None) -> Tensor | None:
        """Interpolates a table from another grid to this one, as timm does for Swin.

        Bicubic in 2-D, linear otherwise.

        Args:
            table: ``(m, heads)``.
            grid: the extents of the grid that its distances belong to; by default a square (a cube).

        Returns:
            A table of this one's shape; None if it does not belong to the grid, or ``heads`` differs.
        """
        if not self.fits:
            return table if table.shape == self.weight.shape else None
        (lie,) = self.tables()["weight"]
        old = lie.square(len(table)) if grid is None else tuple(grid)
        if old is None or lie.rows(old) != len(table) or table.shape[-1] != self.weight.shape[-1]:
            return None
        return lie.resampled(table, old)

    def forward(self) -> Tensor:
        return F.embedding(self.index, self.weight).permute(2, 0, 1)


def distances(
    grid: tuple[int, ...],
    device: torch.device | None,
    mirror: bool,
    queries: tuple[int, ...],
    stride: tuple[int, ...],
    places: tuple[int, ...],
) -> Tensor:
    """The row of the table for each query ``i`` and key ``j``, ``(N, M)``: Swin's index, or with ``mirror`` LeViT's."""
    index = torch.zeros(1, 1, dtype=torch.long, device=device)
    for g, n, s, many in zip(grid, queries, stride, places, strict=True):
        distance = torch.arange(n, device=device)[:, None] * s - torch.arange(g, device=device)
        distance = distance.abs() if mirror else distance + g - 1
        # Axis by axis, (i, j) x (i_a, j_a): the index of the axes so far becomes the slower digit.
        index = (index[:, None, :, None] * many + distance[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    return index
