"""Stochastic depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dropout import keep
from .rules.drop_path import DropPathRule
from .rules.dropout import checked


class DropPath(DropPathRule, nn.Module):
    """``x * keep / (1 - rate)``, each item of the batch kept whole with probability ``1 - rate``; in evaluation ``x``.

    In any layout.

    Args:
        rate: share of the items that become 0, in ``[0, 1)``.

    Huang et al. 2016 (arXiv 1603.09382), in the form of timm's ``DropPath`` with ``scale_by_keep``. The rate is a buffer
    outside the state dict, so that the blocks of a stage share one compiled graph.

    Example:
        >>> DropPath(rate=0.5)(torch.ones(64, 3)).unique().tolist()
        [0.0, 2.0]
    """

    rate: Tensor

    def __init__(self, *, rate: float):
        super().__init__()
        self.initial = checked(rate)
        self.register_buffer("rate", torch.empty(1), persistent=False)  # not a scalar: dynamo would trace those of float64 twice
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.rate.fill_(self.initial)

    def forward(self, x: Tensor) -> Tensor:
        return drop_items(x, self.rate, self.training)


def drop_items(x: Tensor, rate: Tensor, training: bool) -> Tensor:
    """In training, zeroes items of the batch with probability ``rate`` and scales the others by ``1 / (1 - rate)``."""
    return keep(x, (x.shape[0],) + (1,) * (x.dim() - 1), rate) if training else x


torch.fx.wrap("drop_items")  # one node of a traced graph, in training and in evaluation
