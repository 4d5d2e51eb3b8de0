"""The core of attention to the regions of a map that each region chooses."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class AttendRouted(nn.Module):
    """``softmax(scale * q k') v`` for each head, over the keys of those ``top`` regions that suit a query's region best.

    ``forward(q, k, v)`` with ``q (b, *grid, h * d)``, ``k (b, *grid, h * d)``, ``v (b, *grid, h * e)`` on one grid of
    ``prod(regions)`` equal regions. Regions suit each other by the product of their mean query and mean key, all heads together;
    the choice has no gradient. Returns ``(b, *grid, h * e)``. One, two or three dimensions.

    Args:
        regions: how many regions an axis is divided into.
        top: how many of them a region attends to.
        heads: number of heads h: consecutive groups of channels.
        scale: factor on the logits.
        drop: dropout on the attention weights.

    Bi-level routing attention of BiFormer, Zhu et al. 2023 (arXiv 2303.08810). Which regions are chosen is not continuous in what
    arrives: where two suit almost alike, rounding decides.
    """

    takes = ("grid",)

    def __init__(self, *, regions: list[int], top: int, heads: int, scale: float = 1.0, drop: float = 0.0):
        super().__init__()
        self.regions, self.top, self.heads, self.scale, self.drop = tuple(regions), top, heads, scale, drop

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        grid = q.shape[1:-1]
        q, k, v = (regional(t, self.regions) for t in (q, k, v))
        suits = q.detach().mean(2) @ k.detach().mean(2).transpose(1, 2)
        chosen = suits.topk(self.top, dim=-1).indices
        k, v = gathered(k, chosen), gathered(v, chosen)
        q, k, v = (t.flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        x = F.scaled_dot_product_attention(q, k, v, None, self.drop if self.training else 0.0, scale=self.scale)
        return whole(x.transpose(1, 2).flatten(2), self.regions, grid)


def regional(x: Tensor, regions: Sequence[int]) -> Tensor:
    """Regions row by row, and the tokens of each: ``(b, *grid, c) -> (b, R, n, c)``."""
    rank = len(regions)
    for axis, count in enumerate(regions):
        x = x.unflatten(2 * axis + 1, (count, -1))
    order = [0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1]
    return x.permute(order).flatten(rank + 1, 2 * rank).flatten(1, rank)


def gathered(x: Tensor, chosen: Tensor) -> Tensor:
    """All tokens of the regions that each region chose: ``(b, R, n, c), (b, R, t) -> (b, R, t * n, c)``."""
    places = chosen.flatten(1)[:, :, None, None].expand(-1, -1, x.shape[2], x.shape[3])
    return x.gather(1, places).unflatten(1, chosen.shape[1:]).flatten(2, 3)


def whole(x: Tensor, regions: Sequence[int], grid: Sequence[int]) -> Tensor:
    """The inverse of :func:`regional`: ``(b * R, n, c) -> (b, *grid, c)``."""
    rank = len(regions)
    sizes = [extent // count for extent, count in zip(grid, regions, strict=True)]
    order = [0, *(axis for i in range(1, rank + 1) for axis in (i, rank + i)), 2 * rank + 1]
    return x.reshape(-1, *regions, *sizes, x.shape[-1]).permute(order).reshape(-1, *grid, x.shape[-1])
