"""The core of attention to neighbours whose weights come as an input: a convolution by a kernel of each place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attend_near import beyond, taps, weigh
from .rules.attend_taps import AttendTapsRule


class AttendTaps(AttendTapsRule, nn.Module):
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
        # Every place of a sequence is a query, and its neighbours follow each other.
        self.plain = len(size) == 1 and dilation == self.stride[0] == 1 and border != "clamp"

    def products(self, v: Tensor, logits: Tensor) -> int:
        """Multiply-accumulates of the matrix products that :meth:`forward` writes as sums: those of a sequence's neighbours."""
        n, one = v.shape[1], logits.shape[1] == 1
        if not self.plain or (one and n <= 512):
            return 0
        reach = n if self.border == "cut" and self.side == "past" else self.size[0]
        return min(reach, self.size[0]) * v.numel()

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
        places = [-(-grid[axis] // step) for axis, step in enumerate(self.stride)]
        x = on_line(v, weights, self.size[0], self.border, self.side) if self.plain else by_taps(v, weights, *around)
        return x.unflatten(1, places)


def by_taps(
    v: Tensor, weights: Tensor, size: Sequence[int], border: str, dilation: int, side: str, stride: Sequence[int]
) -> Tensor:
    """The weighted sums of neighbours, ``(b, N, h * e)``, from ``v (b, *grid, h * e)`` and ``weights (b, h, N or 1, K)``."""
    near = taps(v, size, border, dilation, side, stride).unflatten(len(size) + 1, (weights.shape[1], -1))
    return weigh(near, weights).transpose(1, 2).flatten(2)


def on_line(v: Tensor, weights: Tensor, size: int, border: str, side: str) -> Tensor:
    """The same sums of a sequence, whose neighbours follow each other.

    Weights that are the same for all places are a band matrix, multiplied with the values: that is faster, but its cost grows
    with the square of the length. A long sequence, or one of any length, is not multiplied so.
    """
    n, heads = v.shape[1], weights.shape[1]
    exporting = torch.compiler.is_exporting()
    if weights.shape[2] == 1 and not exporting and n <= 512:
        # Rows of one more place than those of the matrix: each begins one place further to the right.
        rows = F.pad(weights.expand(-1, -1, n, -1), (0, n)).flatten(-2)[..., :-n].unflatten(-1, (n, -1))
        band = rows.narrow(-1, size - 1 if side == "past" else size // 2, n)
        return (band @ v.unflatten(-1, (heads, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)
    if border == "cut" and side == "past" and not exporting and n < size:  # no place has more before it
        weights, size = weights[..., size - n :], n
    return by_taps(v, weights, [size], "zeros", 1, side, [1])


torch.fx.wrap("beyond")
torch.fx.wrap("by_taps")  # these read sizes, which torch.fx does not know: each is one node of a graph that it traces
torch.fx.wrap("on_line")
