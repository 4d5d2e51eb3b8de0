"""The core of linear attention, from features of queries and keys."""

from __future__ import annotations

from torch import Tensor, nn


class AttendLinear(nn.Module):
    """``q (k' v) / (q sum k' + eps)`` for each head, where ``q`` and ``k`` are non-negative features.

    ``forward(q, k, v)`` with ``q (b, ..., h * d)``, ``k (b, ..., h * d)``, ``v (b, ..., h * e)``; extents between the first and
    the last axis are flattened to tokens. Returns ``(b, ..., h * e)`` with the extents of ``q``.

    Args:
        heads: number of heads h: consecutive groups of channels.
        eps: added to the denominator.

    Katharopoulos et al. 2020 (arXiv 2006.16236).

    Example:
        >>> import torch
        >>> q, k, v = torch.ones(1, 3, 8), torch.ones(1, 5, 8), torch.ones(1, 5, 4)
        >>> AttendLinear(heads=2)(q, k, v).shape
        torch.Size([1, 3, 4])
    """

    takes = ("grid", "tokens")

    def __init__(self, *, heads: int, eps: float = 1e-6):
        super().__init__()
        self.heads, self.eps = heads, eps

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        extents = q.shape[1:-1]
        q, k, v = (t.flatten(1, -2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        x = q @ (k.mT @ v) / (q @ k.sum(-2).unsqueeze(-1) + self.eps)
        return x.transpose(1, 2).flatten(2).unflatten(1, extents)
