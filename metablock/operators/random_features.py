"""Random features whose products are the exponentials of scalar products."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.random_features import RandomFeaturesRule


class RandomFeatures(RandomFeaturesRule, nn.Module):
    """``y = exp(x w' - |x|^2 / 2) / sqrt(n)`` on the last axis: ``(b, ..., c) -> (b, ..., n)``.

    Args:
        n: number of features.

    For normal rows of ``w`` the mean of ``y(q) y(k)'`` is ``exp(q k')``: attention with these features approximates a softmax.
    FAVOR+ of the Performer, Choromanski et al. 2021 (arXiv 2009.14794), as T2T-ViT (arXiv 2101.11986) has it: orthogonal rows
    of length ``sqrt(n)``, drawn once (``frozen(random_features(32))``), and no maximum subtracted before the exponential.

    Example:
        >>> RandomFeatures(8, n=16)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 16])
    """

    roles = {"weight": "matrix"}

    def __init__(self, c: int, *, n: int):
        super().__init__()
        self.n = n
        self.weight = nn.Parameter(torch.empty(n, c))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight, math.sqrt(self.n))

    def forward(self, x: Tensor) -> Tensor:
        length = x.square().sum(-1, keepdim=True) / 2
        return torch.exp(F.linear(x, self.weight) - length) / math.sqrt(self.n)
