"""The core of attention to the regions of a map that each region chooses."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .rules.attend_routed import AttendRoutedRule


class AttendRouted(AttendRoutedRule, nn.Module):
    """``softmax(scale * q k') v`` for each head, over the keys of the ``top`` regions that match a query's region best.

    ``forward(q, k, v)`` with ``q (b, *grid, h * d)``, ``k (b, *grid, h * d)``, ``v (b, *grid, h * e)`` on one grid of
    ``prod(regions)`` equal regions. The product of a region's mean query and another's mean key, all heads together, says how
    well they match; the choice has no gradient. Returns ``(b, *grid, h * e)``. One, two or three dimensions.

    Args:
        regions: number of regions per axis.
        top: number of regions that each region attends to.
        heads: number of heads h: consecutive groups of channels.
        scale: factor on the logits.
        drop: dropout on the attention weights.

    Bi-level routing attention of BiFormer, Zhu et al. 2023 (arXiv 2303.08810). The choice is not continuous in the
    input: where two regions match almost equally, rounding decides.

    Example:
        >>> import torch
        >>> x = torch.randn(1, 4, 6, 8)
        >>> AttendRouted(regions=[2, 3], top=2, heads=2)(x, x, x).shape
        torch.Size([1, 4, 6, 8])
    """

    def __init__(self, *, regions: list[int], top: int, heads: int, scale: float = 1.0, drop: float = 0.0):
        super().__init__()
        self.regions, self.top, self.heads, self.scale, self.drop = tuple(regions), top, heads, scale, drop

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        grid = q.shape[1:-1]
        q, k, v = (regional(t, self.regions) for t in (q, k, v))
        match = q.detach().mean(2) @ k.detach().mean(2).transpose(1, 2)
        chosen = match.topk(self.top, dim=-1).indices
        k, v = gathered(k, chosen), gathered(v, chosen)
        q, k, v = (t.flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        x = F.scaled_dot_product_attention(q, k, v, None, self.drop if self.training else 0.0, scale=self.scale)
        return whole(x.transpose(1, 2).flatten(2), self.regions, grid)


def regional(x: Tensor, regions: Sequence[int]) -> Tensor:
    """Cuts a grid into regions, row by row, and flattens the tokens of each: ``(b, *grid, c) -> (b, R, n, c)``."""
    rank = len(regions)
    for axis, count in enumerate(regions):
        x = x.unflatten(2 * axis + 1, (count, -1))
    order = [0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1]
    return x.permute(order).flatten(rank + 1, 2 * rank).flatten(1, rank)


def gathered(x: Tensor, chosen: Tensor) -> Tensor:
    """Collects the tokens of the regions that each region chose: ``(b, R, n, c), (b, R, t) -> (b, R, t * n, c)``."""
    places = chosen.flatten(1)[:, :, None, None].expand(-1, -1, x.shape[2], x.shape[3])
    return x.gather(1, places).unflatten(1, chosen.shape[1:]).flatten(2, 3)


def whole(x: Tensor, regions: Sequence[int], grid: Sequence[int]) -> Tensor:
    """The inverse of :func:`regional`: ``(b * R, n, c) -> (b, *grid, c)``."""
    rank = len(regions)
    sizes = [grid[axis] // count for axis, count in enumerate(regions)]
    order = [0, *(axis for i in range(1, rank + 1) for axis in (i, rank + i)), 2 * rank + 1]
    x = x.unflatten(1, sizes).unflatten(0, (-1, *regions)).permute(order)
    for axis in range(1, rank + 1):
        x = x.flatten(axis, axis + 1)
    return x
