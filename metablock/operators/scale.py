"""A learned factor per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..shape import Layout
from .rules.scale import ScaleRule


class Scale(ScaleRule, nn.Module):
    """``weight * x`` with one weight per channel, in any layout.

    Args:
        init: initial value of the weights.

    LayerScale of CaiT, Touvron et al. 2021 (arXiv 2103.17239).

    Example:
        >>> Scale(3, 2, "map", init=0.5)(torch.ones(1, 3, 1, 1)).flatten()
        tensor([0.5000, 0.5000, 0.5000], grad_fn=<ViewBackward0>)
    """

    roles = {"weight": "scale"}

    def __init__(self, c: int, rank: int, layout: Layout, *, init: float = 1.0):
        super().__init__()
        self.view = (c,) + (1,) * (rank if layout == "map" else 0)
        self.init = init
        self.weight = nn.Parameter(torch.empty(c))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, self.init)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(self.view)
