"""The core of attention whose logits come as an input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.attend_given import AttendGivenRule
from .traced import for_gpu

# Up to so many keys a product is a sum on a GPU.
FEW = 16


class AttendGiven(AttendGivenRule, nn.Module):
    """``softmax(scale * logits) v`` for each head.

    ``forward(v, logits)`` with ``v (b, ..., h * e)`` of M tokens (extents between the first and the last axis are flattened to
    tokens); ``logits (b, ..., h * M)`` of N queries, or ``(b, ..., h * N * M)`` of one token for all queries: head by head,
    query by query. Returns ``(b, N, h * e)``.

    Args:
        heads: number of heads h: consecutive groups of channels.
        scale: factor on the logits.
        drop: dropout on the attention weights.
        norm: ``"softmax"``, or ``"none"``: ``scale * logits`` are the weights.

    Example:
        >>> import torch
        >>> AttendGiven(heads=2)(torch.zeros(1, 5, 8), torch.zeros(1, 3, 2 * 5)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, *, heads: int, scale: float = 1.0, drop: float = 0.0, norm: str = "softmax"):
        super().__init__()
        self.heads, self.scale, self.drop, self.norm = heads, scale, drop, norm

    def forward(self, v: Tensor, logits: Tensor) -> Tensor:
        v, logits = v.flatten(1, -2).unflatten(-1, (self.heads, -1)).transpose(1, 2), logits.flatten(1, -2)
        apart = logits.unflatten(-1, (self.heads, -1, v.shape[2]))  # (b, n, h, N / n, M)
        weights = apart.transpose(1, 2).flatten(2, 3) * self.scale
        if self.norm == "softmax":
            weights = weights.softmax(-1)
        weights = F.dropout(weights, self.drop, self.training)
        return weighted(weights, v).transpose(1, 2).flatten(2)


def weighted(weights: Tensor, v: Tensor) -> Tensor:
    """The product of weights ``(b, h, N, M)`` and values ``(b, h, M, e)``.

    On a GPU, in a compiled graph, that of few keys is a sum: it reads overlapping windows where they are, and a matrix product
    would read a copy. Elsewhere the product is faster.
    """
    if for_gpu(v) and v.shape[-2] <= FEW:
        return (weights.to(v.dtype).unsqueeze(-1) * v.unsqueeze(-3)).sum(-2)
    return weights @ v


torch.fx.wrap("weighted")
