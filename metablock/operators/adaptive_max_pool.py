"""Maximum pooling to a given size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..shape import Feature
from .adaptive_avg_pool import sized
from .extents import Extent, expand

ADAPTIVE_MAX_POOL = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


class AdaptiveMaxPool(nn.Module):
    """Maximum over as many bins as asked for: ``(b, c, *grid) -> (b, c, *size)``. The bins are those of ``adaptive_avg_pool``.

    Args:
        size: the grid that leaves, one number or one an axis.
    """

    takes = ("map",)

    def __init__(self, rank: int, *, size: int | list[int]):
        super().__init__()
        self.size = expand(size, rank)

    @staticmethod
    def shape(x: Feature, *, size: Extent) -> Feature:
        return x.with_(grid=sized(size, x.rank))

    def forward(self, x: Tensor) -> Tensor:
        return ADAPTIVE_MAX_POOL[x.dim() - 2](x, self.size)
