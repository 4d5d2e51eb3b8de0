"""Learned numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.scalar import LearnedScalarRule


class LearnedScalar(LearnedScalarRule, nn.Module):
    """A source of ``n`` learned numbers: ``(b, ...) -> (b, n)``. Of the input, only the batch matters.

    Args:
        start: initial value of each.
        n: how many.

    A vector broadcasts: ``x * scalar(0.1)`` multiplies by one number (``scale`` has one a channel), ``attention(heads,
    scale=scalar(1, heads))`` has a temperature a head (XCiT, arXiv 2106.09681), ``scale=scalar(2.3, heads) >> clip(high=4.6) >>
    exp`` one in log-space (Swin V2, arXiv 2111.09883).

    Example:
        >>> LearnedScalar(start=0.5, n=2)(torch.zeros(3, 8, 7, 7)).shape
        torch.Size([3, 2])
    """

    roles = {"weight": "scale"}

    def __init__(self, *, start: float = 1.0, n: int = 1):
        super().__init__()
        self.start = start
        self.weight = nn.Parameter(torch.empty(n))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, self.start)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.clone().expand(x.shape[0], -1)  # a view of a parameter requires grad even under no_grad
