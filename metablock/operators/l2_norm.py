"""Vectors of length one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .rules.l2_norm import L2NormRule


class L2Norm(L2NormRule, nn.Module):
    """``y = x / max(|x|, eps)`` with the Euclidean length over the last axis: ``(b, ..., c) -> (b, ..., c)``.

    Args:
        eps: lower bound of the divisor.
        inside: adds ``eps`` to the squared length instead: ``x / sqrt(|x|^2 + eps)`` (ParseNet, arXiv 1506.04579).
        over: ``"channels"``: the length of each token; or ``"tokens"``: of each channel over all positions, prefix tokens too.

    Cosine attention is ``attention(heads, qk_norm=l2norm, scale=...)`` (Swin V2, arXiv 2111.09883; TransNeXt, arXiv 2311.17132);
    that of channels ``attention(heads, over="channels", qk_norm=l2norm(over="tokens"), scale=...)`` (XCiT, arXiv 2106.09681).

    Example:
        >>> import torch
        >>> L2Norm()(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """

    def __init__(self, *, eps: float = 1e-12, over: str = "channels", inside: bool = False):
        super().__init__()
        self.eps, self.over, self.inside = eps, over, inside

    def forward(self, x: Tensor) -> Tensor:
        if self.over == "tokens":
            return self.normalised(x.flatten(1, -2), 1).view_as(x)
        return self.normalised(x, -1)

    def normalised(self, x: Tensor, dim: int) -> Tensor:
        """``x`` divided by its length along an axis."""
        if self.inside:
            return x / (x.square().sum(dim, keepdim=True) + self.eps).sqrt()
        return F.normalize(x, dim=dim, eps=self.eps)
