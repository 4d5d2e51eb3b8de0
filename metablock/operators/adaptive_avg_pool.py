"""Average pooling to a given size."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature
from .extents import Extent, expand

ADAPTIVE_AVG_POOL: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


class AdaptiveAvgPool(nn.Module):
    """Mean over as many bins as asked for: ``(b, c, *grid) -> (b, c, *size)``.

    Bin ``i`` of ``m`` on an axis of ``n`` reaches from ``floor(i n / m)`` to ``ceil((i + 1) n / m)``: where ``m`` does not
    divide ``n``, neighbours overlap.

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
        return ADAPTIVE_AVG_POOL[x.dim() - 2](x, self.size)


def sized(size: Extent, rank: int) -> tuple[int, ...]:
    """A size that was asked for, one number an axis."""
    sizes = expand(size, rank)
    if min(sizes, default=1) < 1:
        raise error(f"a size of {'x'.join(map(str, sizes))}", hint="a size is at least 1")
    return sizes
