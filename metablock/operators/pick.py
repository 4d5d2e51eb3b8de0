"""Tokens by their numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.pick import PickRule


class Pick(PickRule, nn.Module):
    """Tokens by their numbers, in this order: ``(b, N, c) -> (b, len(tokens), c)``, ``y[i] = x[tokens[i]]``.

    Args:
        tokens: the numbers, prefix tokens first; a number may occur again. Negative ones count from the end.

    Numbers that data decide are an order: ``reorder(order >> first(n))``. Which of a pattern stay is written with a list:
    ``pick([2 * i for i in range(8)])``.

    Example:
        >>> Pick(tokens=[2, 0, 2])(torch.tensor([[[1], [2], [3]]])).flatten().tolist()
        [3, 1, 3]
    """

    index: Tensor

    def __init__(self, *, tokens: list[int]):
        super().__init__()
        self.tokens = list(tokens)
        self.register_buffer("index", torch.empty(len(tokens), dtype=torch.long), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.index.copy_(torch.tensor(self.tokens, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]
