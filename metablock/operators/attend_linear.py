"""The core of linear attention, from features of queries and keys."""

from __future__ import annotations

from torch import Tensor, nn

from .rules.attend_linear import AttendLinearRule


class AttendLinear(AttendLinearRule, nn.Module):
    """``q (k' v) / (q sum k' + eps)`` for each head, where ``q`` and ``k`` are non-negative features.

    ``forward(q, k, v, [turned_q, turned_k])`` with ``q (b, ..., h * d)``, ``k (b, ..., h * d)``, ``v (b, ..., h * e)``; extents
    between the first and the last axis are flattened to tokens. Returns ``(b, ..., h * e)`` with the extents of ``q``.

    Args:
        heads: number of heads h: consecutive groups of channels.
        eps: added to the denominator.
        rotary: whether ``forward`` takes ``turned_q`` and ``turned_k``, which stand in the numerator instead of ``q`` and ``k``.

    Katharopoulos et al. 2020 (arXiv 2006.16236).

    Example:
        >>> import torch
        >>> q, k, v = torch.ones(1, 3, 8), torch.ones(1, 5, 8), torch.ones(1, 5, 4)
        >>> AttendLinear(heads=2)(q, k, v).shape
        torch.Size([1, 3, 4])
    """

    def __init__(self, *, heads: int, eps: float = 1e-6, rotary: bool = False):
        super().__init__()
        self.heads, self.eps, self.rotary = heads, eps, rotary

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *turned: Tensor) -> Tensor:
        extents = q.shape[1:-1]
        over_q, over_k = turned if self.rotary else (q, k)
        q, k, v, over_q, over_k = (
            t.flatten(1, -2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v, over_q, over_k)
        )
        x = over_q @ (over_k.mT @ v) / (q @ k.sum(-2).unsqueeze(-1) + self.eps)
        return x.transpose(1, 2).flatten(2).unflatten(1, extents)
