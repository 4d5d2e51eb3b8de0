"""The core of attention, from projected queries, keys and values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attend_given import FEW, weighted
from .rules.attend import AttendRule
from .traced import for_gpu


class Attend(AttendRule, nn.Module):
    """``softmax(scale * q k' + bias + mask) v`` for each head.

    ``forward(q, k, v, [bias], [mask], [keep])`` with ``q (b, ..., h * d)``, ``k (b, ..., g * d)``, ``v (b, ..., g * e)``; extents
    between the first and the last axis are flattened to tokens. ``bias`` is ``(h, N, M)``, with ``batched`` ``(b, h, N, M)``;
    ``mask``, for windows, is ``(windows, N, N)`` and the batch holds the windows of an image one after the other; ``keep``,
    ``(b, ..., 1)``, is 0 for keys that no query may read. Returns ``(b, ..., h * e)`` with the extents of ``q``, and with
    ``row`` also ``(b, ..., 1)`` with those of ``k``.

    Args:
        heads: number of heads h: consecutive groups of channels.
        scale: factor on the logits.
        drop: dropout on the attention weights.
        biased: whether ``forward`` takes ``bias``.
        batched: whether ``bias`` has a batch.
        masked: whether ``forward`` takes ``keep``.
        row: number of the query whose attention weights, averaged over the heads, ``forward`` returns too. It then writes out all
            weights and uses no fused kernel.
        kv_heads: number of heads g of keys and values, each shared by ``h / g`` consecutive heads of the queries; by default h.
        causal: whether a query reads only the keys up to its own number.
        far: with ``causal``: whether keys that all queries read follow the first N.

    Example:
        >>> q, k, v = torch.zeros(2, 3, 8), torch.zeros(2, 5, 8), torch.zeros(2, 5, 16)
        >>> Attend(heads=4)(q, k, v).shape
        torch.Size([2, 3, 16])
    """

    def __init__(
        self,
        *,
        heads: int,
        scale: float = 1.0,
        drop: float = 0.0,
        biased: bool = False,
        masked: bool = False,
        row: int | None = None,
        kv_heads: int | None = None,
        batched: bool = False,
        causal: bool = False,
        far: bool = False,
    ):
        super().__init__()
        self.causal, self.far = causal, far
        self.heads, self.scale, self.drop, self.biased, self.masked = heads, scale, drop, biased, masked
        self.row, self.kv_heads, self.batched = row, heads if kv_heads is None else kv_heads, batched

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *tables: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        extents, places = q.shape[1:-1], k.shape[1:-1]
        q = q.flatten(1, -2).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (t.flatten(1, -2).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for t in (k, v))
        grouped = self.kv_heads != self.heads
        bias = tables[0].to(q.dtype) if self.biased else None
        if len(tables) > self.biased + self.masked:  # one mask a window of the image
            mask = tables[self.biased].to(q.dtype).unsqueeze(1)
            if bias is not None and self.batched:
                bias = (bias.unflatten(0, (-1, mask.shape[0])) + mask).flatten(0, 1)
            else:
                bias = mask if bias is None else mask + bias
                bias = bias.repeat(q.shape[0] // mask.shape[0], 1, 1, 1)
        keep = tables[-1].flatten(1, -2)[:, None, None, :, 0] != 0 if self.masked else None
        only = bias is None and keep is None and self.row is None and not self.far
        if self.causal and not only:
            seen = up_to(q, k)
            keep = seen if keep is None else keep & seen
        if keep is not None and bias is not None:
            bias = torch.where(keep, bias, -math.inf)
        drop = self.drop if self.training else 0.0
        if self.row is None:
            bias = keep if bias is None else bias
            x = attended(q, k, v, bias, drop, self.causal and only, self.scale, grouped)
            return x.transpose(1, 2).flatten(2).unflatten(1, extents)
        if grouped:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        logits = (q * self.scale) @ k.transpose(-2, -1)
        if bias is not None:
            logits = logits + bias
        elif keep is not None:
            logits = logits.masked_fill(~keep, -math.inf)
        weights = logits.softmax(-1)
        x = F.dropout(weights, drop) @ v if drop else weights @ v
        row = weights[:, :, self.row].mean(1)
        return x.transpose(1, 2).flatten(2).unflatten(1, extents), row.unsqueeze(-1).unflatten(1, places)


def attended(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, drop: float, causal: bool, scale: float, grouped: bool
) -> Tensor:
    """``softmax(scale * q k' + bias) v``: torch's fused attention.

    Its kernels for GPUs take heads of 8, 16, ... channels, and torch copies others into wider ones. Narrow heads of few keys are
    sums in a graph that is compiled for a GPU, and are read where they are.
    """
    if for_gpu(q) and q.shape[-1] < 8 and k.shape[-2] <= FEW and not (causal or grouped):
        logits = ((q * scale).unsqueeze(-2) * k.unsqueeze(-3)).sum(-1)
        if bias is not None:
            logits = logits.masked_fill(~bias, -math.inf) if bias.dtype == torch.bool else logits + bias
        return weighted(F.dropout(logits.softmax(-1), drop), v)
    return F.scaled_dot_product_attention(q, k, v, bias, drop, causal, scale=scale, enable_gqa=grouped)


def up_to(q: Tensor, k: Tensor) -> Tensor:
    """Which of the keys ``(..., M, d)`` each of ``N`` queries reads: those up to its own number, and all after the first N."""
    n, key = q.shape[-2], torch.arange(k.shape[-2], device=k.device)
    return (key <= torch.arange(n, device=k.device)[:, None]) | (key >= n)


# These read sizes, which torch.fx does not know: each is one node of a graph that it traces.
torch.fx.wrap("attended")
torch.fx.wrap("up_to")


def window_regions(
    grid: tuple[int, ...], size: Sequence[int], shift: Sequence[int], device: torch.device | None = None
) -> Tensor:
    """Labels of a rolled map, one per position: tokens with different labels were not neighbours before the roll."""
    labels = torch.zeros(grid, device=device)
    for axis, (extent, s, d) in enumerate(zip(grid, size, shift, strict=True)):
        position = torch.arange(extent, device=device)
        region = (position >= extent - s).int() + (position >= extent - d).int() * (d > 0)
        view = [1] * len(grid)
        view[axis] = extent
        labels = labels * 3 + region.view(view)
    return labels
