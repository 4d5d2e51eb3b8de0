"""Group normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature


class GroupNorm(nn.Module):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``: ``(b, c, *grid) -> (b, c, *grid)``.

    Mean and (biased) variance are those of a group of channels over all positions; weight and bias are per channel.

    Args:
        groups: number of groups; must divide ``c``. 1 is PoolFormer's norm, over channels and positions together.
        eps: added to the variance.
        bias: whether a constant is added.

    Wu & He 2018 (arXiv 1803.08494). Weight 1, bias 0.
    """

    takes = ("map",)

    def __init__(self, c: int, *, groups: int, eps: float = 1e-5, bias: bool = True):
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.empty(c))
        self.bias = nn.Parameter(torch.empty(c)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @staticmethod
    def shape(x: Feature, *, groups: int) -> Feature:
        if groups < 1 or x.c % groups:
            hint = "choose a divisor of the width; `group_norm(1)` works for any"
            raise error(f"{groups} groups do not divide {x.c} channels", hint=hint)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
