"""A fixed factor."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Times(nn.Module):
    """``factor * x``, in any layout.

    Args:
        factor: the number. It is a buffer outside the state dict, so that blocks with different numbers share one graph; it has
            the precision of the default dtype when built.
    """

    takes = ("map", "grid", "tokens", "vector")
    factor: Tensor

    def __init__(self, *, factor: float):
        super().__init__()
        self.initial = factor
        self.register_buffer("factor", torch.empty(1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.factor.fill_(self.initial)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor.to(x.dtype)
