"""The core of attention to neighbours whose weights come as an input: a convolution by a kernel of each place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attend_near import beyond, neighbours


class AttendTaps(nn.Module):
    """``sum_t softmax(scale * logits)_t v_t`` for each head, over the neighbours ``t`` of each query.

    ``forward(v, logits)`` with ``v (b, *grid, h * e)`` and ``logits (b, *places, h * K)``, ``K = prod(size)``, head by head; or
    ``(b, 1, h * K)`` for all queries. A query stands on every ``stride``-th place of the grid. Returns ``(b, *places, h * e)``.
    One, two or three dimensions.

    Args:
        size: extents of a neighbourhood, one number per axis.
        border: what lies beyond the map: nothing that has a weight (``"mask"``) or zeros (``"zeros"``), but for those neighbours
            that lie there for every query (``"cut"``); with ``"clamp"`` the neighbourhood moves inside.
        dilation: distance between neighbours.
        side: where the neighbours stand: on ``"both"`` sides of the query, or in the ``"past"`` that ends at it.
        stride: places from a query to the next on each axis; by default 1.
        heads: number of heads h: consecutive groups of channels.
        scale: factor on the logits.
        norm: ``"softmax"``, or ``"none"``: the logits are the weights.
        drop: dropout on the weights.

    Example:
        >>> v, logits = torch.ones(1, 4, 6), torch.ones(1, 4, 2 * 3)
        >>> AttendTaps(size=[3], border="zeros", heads=2, norm="none")(v, logits)[0, :, 0]
        tensor([2., 3., 3., 2.])
    """

    takes = ("grid",)

    def __init__(
        self,
        *,
        size: list[int],
        border: str = "mask",
        dilation: int = 1,
        side: str = "both",
        stride: list[int] | None = None,
        heads: int,
        scale: float = 1.0,
        norm: str = "softmax",
        drop: float = 0.0,
    ):
        super().__init__()
        self.size, self.border, self.dilation, self.side = tuple(size), border, dilation, side
        self.stride = tuple(stride) if stride else (1,) * len(size)
        self.heads, self.scale, self.norm, self.drop = heads, scale, norm, drop

    def forward(self, v: Tensor, logits: Tensor) -> Tensor:
        grid, around = v.shape[1:-1], (self.size, self.border, self.dilation, self.side, self.stride)
        weights = logits.flatten(1, -2).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # b, h, N or 1, K
        if self.scale != 1.0:
            weights = weights * self.scale
        if self.norm == "softmax":
            if self.border in ("mask", "cut"):
                weights = weights.masked_fill(beyond(v, grid, *around), -math.inf)
            weights = weights.softmax(-1)
        weights = F.dropout(weights, self.drop, self.training).to(v.dtype)
        near = neighbours(v, *around).unflatten(1, (self.heads, -1))  # b, h, e, N, K
        x = (near * weights.unsqueeze(2)).sum(-1)
        places = [-(-extent // step) for extent, step in zip(grid, self.stride, strict=True)]
        return x.flatten(1, 2).mT.unflatten(1, places)


torch.fx.wrap("beyond")
torch.fx.wrap("neighbours")
