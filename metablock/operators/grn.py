"""Global response normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.grn import GRNRule


class GRN(GRNRule, nn.Module):
    """Global response normalisation: ``(b, *grid, c) -> (b, *grid, c)``.

    ``y = weight * (x * g / (mean(g) + eps)) + bias + x``, where ``g`` is the norm of a channel over all positions (Euclidean)
    and ``mean(g)`` its mean over the channels.

    Args:
        eps: added to the mean.
        bias: whether to add a constant to each channel. (Re-parameterisation moves it into the layer that follows.)

    ConvNeXt V2, Woo et al. 2023 (arXiv 2301.00808), algorithm 1. Weight and bias start as 0: the identity.

    Example:
        >>> x = torch.randn(2, 5, 5, 4)
        >>> torch.equal(GRN(4, 2)(x), x)
        True
    """

    roles = {"weight": "scale"}

    def __init__(self, c: int, rank: int, *, eps: float = 1e-6, bias: bool = True):
        super().__init__()
        self.axes, self.eps = tuple(range(1, 1 + rank)), eps
        self.weight = nn.Parameter(torch.empty(c))
        self.bias = nn.Parameter(torch.empty(c)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=self.axes, keepdim=True)
        norm = norm / (norm.mean(dim=-1, keepdim=True) + self.eps)
        y = self.weight * (x * norm)
        return (y if self.bias is None else y + self.bias) + x
