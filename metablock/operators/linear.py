"""Linear map of the channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..shape import Feature


class Linear(nn.Module):
    """``y = x W' + b`` on the last axis: ``(b, ..., c) -> (b, ..., out)``.

    Args:
        out: channels that leave.
        bias: whether a constant is added.

    Weights start as torch's own (Kaiming uniform with ``a = sqrt(5)``).
    """

    takes = ("grid", "tokens", "vector")

    def __init__(self, c: int, *, out: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, c))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight.shape[1])
            nn.init.uniform_(self.bias, -bound, bound)

    @staticmethod
    def shape(x: Feature, *, out: int) -> Feature:
        return x.with_(c=out)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)
