"""Tokens by their numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature


class Pick(nn.Module):
    """Tokens by their numbers, in this order: ``(b, N, c) -> (b, len(tokens), c)``, ``y[i] = x[tokens[i]]``.

    Args:
        tokens: the numbers, prefix tokens first; a number may occur again. Negative ones count from the end.

    Numbers that data decide are an order: ``reorder(order >> first(n))``. Which of a pattern stay is written with a list:
    ``pick([2 * i for i in range(8)])``.

    Example:
        >>> Pick(tokens=[2, 0, 2])(torch.tensor([[[1], [2], [3]]])).flatten().tolist()
        [3, 1, 3]
    """

    takes = ("tokens",)
    index: Tensor

    def __init__(self, *, tokens: list[int]):
        super().__init__()
        self.tokens = list(tokens)
        self.register_buffer("index", torch.empty(len(tokens), dtype=torch.long), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.index.copy_(torch.tensor(self.tokens, dtype=torch.long))

    @staticmethod
    def shape(x: Feature, *, tokens: list[int]) -> Feature:
        if not tokens:
            raise error("no token is picked", hint="at least one number")
        wrong = next((i for i in tokens if not -x.n <= i < x.n), None)
        if wrong is not None:
            raise error(f"there is no token {wrong}: {x.n} arrive", hint="tokens are numbered from 0, prefix tokens first")
        return x.with_(grid=(len(tokens),), prefix=0)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]
