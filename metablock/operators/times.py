"""A fixed factor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.times import TimesRule


class Times(TimesRule, nn.Module):
    """``factor * x``, in any layout.

    Args:
        factor: the number. It is a buffer outside the state dict, so that blocks with different numbers share one graph, with
            the default dtype of the moment it is built.

    Example:
        >>> Times(factor=0.5)(torch.ones(2))
        tensor([0.5000, 0.5000])
    """

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
