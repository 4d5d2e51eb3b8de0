"""Vectors of length one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class L2Norm(nn.Module):
    """``y = x / max(|x|, eps)`` with the Euclidean length over the last axis: ``(b, ..., c) -> (b, ..., c)``.

    Args:
        eps: lower bound of the divisor.

    Cosine attention is ``attention(heads, qk_norm=l2norm, scale=...)`` (Swin V2, arXiv 2111.09883; TransNeXt, arXiv 2311.17132).

    Example:
        >>> import torch
        >>> L2Norm()(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """

    takes = ("grid", "tokens", "vector")

    def __init__(self, *, eps: float = 1e-12):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1, eps=self.eps)
