"""Learned tokens that start a stream."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.learned import LearnedRule


class Learned(LearnedRule, nn.Module):
    """A source of learned tokens: ``(b, ...) -> (b, n, out)``. Of the input, only the batch and the width matter.

    Args:
        n: number of tokens.
        out: width of the tokens, by default the input's.

    A class token, the queries of DETR (arXiv 2005.12872), the tokens of Mobile-Former (arXiv 2108.05895). They start as a
    truncated normal of std 0.02.

    Example:
        >>> Learned(8, n=3)(torch.zeros(2, 8, 7, 7)).shape
        torch.Size([2, 3, 8])
    """

    roles = {"weight": "token"}

    def __init__(self, c: int, *, n: int = 1, out: int | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, n, c if out is None else out))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.clone().expand(x.shape[0], -1, -1)  # a view of a parameter requires grad even under no_grad
