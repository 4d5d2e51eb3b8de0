"""A parameter that counts but is never read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.unused import UnusedRule


class Unused(UnusedRule, nn.Module):
    """``y = x``, with a parameter of ``n`` or of ``(n, out)`` numbers that nothing reads, in any layout.

    Args:
        n: number of rows, or of numbers.
        out: numbers per row; without it the parameter has one axis.

    Some official code has such parameters (the constants of DynamicConv, arXiv 1901.10430; the class token's row in MAE's fixed
    table, arXiv 2111.06377). They count, and checkpoints contain them. They start as 0.

    Example:
        >>> Unused(n=3).weight.shape
        torch.Size([3])
    """

    roles = {"weight": "unused"}

    def __init__(self, *, n: int, out: int | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n) if out is None else torch.empty(n, out))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x
