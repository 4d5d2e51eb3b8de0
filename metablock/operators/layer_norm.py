"""Layer normalisation of the channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias`` over the last axis: ``(b, ..., c) -> (b, ..., c)``.

    Args:
        eps: added to the (biased) variance.
        bias: whether a constant is added.
        affine: whether there is a weight, and with it a bias, at all.

    Ba et al. 2016 (arXiv 1607.06450). Weight 1, bias 0.
    """

    takes = ("grid", "tokens", "vector")

    def __init__(self, c: int, *, eps: float = 1e-5, bias: bool = True, affine: bool = True):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(c)) if affine else None
        self.bias = nn.Parameter(torch.empty(c)) if affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
