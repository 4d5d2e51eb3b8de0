"""The core of attention to the neighbours of each query."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.attend_near import AttendNearRule


class AttendNear(AttendNearRule, nn.Module):
    """``softmax(scale * q k' + bias) v`` for each head, over the neighbours of each query, and further keys with them.

    ``forward(q, k, v, [far_k, far_v], [bias], [extra])`` with ``q (b, *grid, h * d)``, ``k (b, *grid, h * d)``,
    ``v (b, *grid, h * e)``; all queries also see ``far_k`` and ``far_v`` (``(b, ..., h * d)``, ``(b, ..., h * e)``, ``M``
    tokens). ``bias`` is ``(h, N, K + M)`` with the ``K = prod(size)`` neighbours first; ``extra``, ``(b, *grid, h * K)``, is
    added to the neighbours' weights after the softmax. Returns ``(b, *grid, h * e)``. One, two or three dimensions.

    Args:
        size: extents of a neighbourhood, one number per axis.
        border: what lies beyond the map: no keys (``"mask"``) or zeros (``"zeros"``), but for those neighbours that lie there for
            every query (``"cut"``); with ``"clamp"`` the neighbourhood moves inside.
        dilation: distance between neighbours.
        side: where the neighbours stand: on ``"both"`` sides of the query, or in the ``"past"`` that ends at it.
        heads: number of heads h: consecutive groups of channels.
        scale: factor on the logits.
        drop: dropout on the attention weights.
        far: whether ``forward`` takes ``far_k`` and ``far_v``.
        biased: whether ``forward`` takes ``bias``.
        extra: whether ``forward`` takes ``extra``.

    Neighbourhood attention (NAT, arXiv 2204.07143); with further keys TransNeXt's aggregated attention (arXiv 2311.17132).

    Example:
        >>> x = torch.zeros(1, 5, 6, 8)
        >>> AttendNear(size=[3, 3], heads=2)(x, x, x).shape
        torch.Size([1, 5, 6, 8])
    """

    def __init__(
        self,
        *,
        size: list[int],
        border: str = "mask",
        dilation: int = 1,
        heads: int,
        scale: float = 1.0,
        drop: float = 0.0,
        far: bool = False,
        biased: bool = False,
        extra: bool = False,
        side: str = "both",
    ):
        super().__init__()
        self.size, self.border, self.dilation, self.side = tuple(size), border, dilation, side
        self.heads, self.scale, self.drop, self.far, self.biased, self.extra = heads, scale, drop, far, biased, extra

    def products(self, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> int:
        """Multiply-accumulates of the matrix products that :meth:`forward` writes as sums."""
        return math.prod(self.size) * (q.numel() + v.numel())

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> Tensor:
        grid, heads, rank = q.shape[1:-1], self.heads, len(self.size)
        around = self.size, self.border, self.dilation, self.side
        k, v = (taps(t, *around).unflatten(rank + 1, (heads, -1)) for t in (k, v))  # b, *grid, h, d or e, *size
        q = q.unflatten(-1, (heads, -1))
        # A query and its own keys are one row of a product: as a sum it is one pass, and no neighbour is copied.
        logits = (q[(..., *[None] * rank)] * k).sum(rank + 2)
        logits, q = (t.flatten(1, rank).transpose(1, 2) for t in (logits.flatten(-rank), q))  # b, h, N, K and b, h, N, d
        logits = logits * self.scale
        if self.border in ("mask", "cut"):
            logits = logits.masked_fill(beyond(q, grid, *around), -math.inf)
        if self.far:
            far_k, far_v = (t.flatten(1, -2).unflatten(-1, (heads, -1)).transpose(1, 2) for t in rest[:2])
            logits = torch.cat([logits, q @ far_k.transpose(-1, -2) * self.scale], dim=-1)
        if self.biased:
            logits = logits + rest[2 * self.far].to(logits.dtype)
        weights = F.dropout(logits.softmax(-1), self.drop, self.training)
        count = math.prod(self.size)
        own = weights[..., :count]
        if self.extra:
            own = own + rest[-1].flatten(1, -2).unflatten(-1, (heads, -1)).transpose(1, 2)
        x = weigh(v, own)
        if self.far:
            x = x + weights[..., count:] @ far_v
        return x.transpose(1, 2).flatten(2).unflatten(1, grid)


def weigh(v: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of values, for each head: ``(b, *places, h, e, *size), (b, h, N or 1, K) -> (b, h, N, e)``."""
    rank = (v.dim() - 3) // 2
    places, size = v.shape[1 : rank + 1], v.shape[rank + 3 :]
    weights = weights.to(v.dtype).transpose(1, 2).unflatten(-1, size)
    weights = weights.unflatten(1, places if weights.shape[1] > 1 else [1] * rank).unsqueeze(rank + 2)
    return (v * weights).flatten(-rank).sum(-1).flatten(1, rank).transpose(1, 2)


def beyond(
    like: Tensor, grid: Sequence[int], size: Sequence[int], border: str, dilation: int, side: str, stride: Sequence[int] = ()
) -> Tensor:
    """Which neighbours have no weight, ``(N, prod(size))``: those beyond the map; with ``"cut"``, those beyond it for all."""
    rank = len(size)
    lost = taps(like.new_ones((1, *grid, 1)), size, "mask", dilation, side, stride)[0].flatten(0, rank).flatten(1) == 0
    return lost.all(0, keepdim=True) if border == "cut" else lost


def taps(x: Tensor, size: Sequence[int], border: str, dilation: int, side: str = "both", stride: Sequence[int] = ()) -> Tensor:
    """The neighbours of each position, or of every ``stride``-th: ``(b, *grid, c) -> (b, *places, c, *size)``.

    A view of the map with its border: places share their neighbours.
    """
    rank = len(size)
    after = [0 if side == "past" else dilation * (s // 2) for s in size]
    before = [dilation * (s - 1) - end for s, end in zip(size, after, strict=True)]
    grid = x.shape[1:-1]
    if border != "clamp":
        x = F.pad(x, [0, 0, *[end for axis in reversed(range(rank)) for end in (before[axis], after[axis])]])
    for axis, (s, start) in enumerate(zip(size, before, strict=True)):
        step = stride[axis] if stride else 1
        x = x.unfold(axis + 1, dilation * (s - 1) + 1, 1 if border == "clamp" else step)[..., ::dilation]
        if border == "clamp":
            x = x.index_select(axis + 1, starts(grid[axis], s, start, x.device)[::step])
    return x


def starts(extent: int, size: int, side: int, device: torch.device | None = None) -> Tensor:
    """First index of each position's neighbourhood on an axis, moved inside the map."""
    return (torch.arange(extent, device=device) - side).clamp(0, extent - size)


# These read sizes, which torch.fx does not know: each is one node of a graph that it traces.
torch.fx.wrap("beyond")
torch.fx.wrap("taps")
torch.fx.wrap("weigh")
