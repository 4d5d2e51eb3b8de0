"""Vectors of length one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class L2Norm(nn.Module):
    """``y = x / max(|x|, eps)`` with the Euclidean length over the last axis: ``(b, ..., c) -> (b, ..., c)``.

    Args:
        eps: the least that is divided by.

    Cosine attention is ``attention(heads, qk_norm=l2norm, scale=...)`` (Swin V2, arXiv 2111.09883; TransNeXt, arXiv 2311.17132).
    """

    takes = ("grid", "tokens", "vector")

    def __init__(self, *, eps: float = 1e-12):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1, eps=self.eps)
