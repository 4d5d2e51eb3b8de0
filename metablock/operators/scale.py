"""A learned factor for each channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..shape import Layout


class Scale(nn.Module):
    """``weight * x`` with one weight a channel, in any layout.

    Args:
        init: what the weights start with.

    LayerScale of CaiT, Touvron et al. 2021 (arXiv 2103.17239).
    """

    takes = ("map", "grid", "tokens", "vector")

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
