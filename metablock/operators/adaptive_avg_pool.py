"""Average pooling to a given size."""

from __future__ import annotations

from torch import nn

from ..errors import error
from ..shape import Feature
from .extents import Extent, expand


class AdaptiveAvgPool:
    """Mean over a given number of bins: ``(b, c, *grid) -> (b, c, *size)``. Makes torch's ``nn.AdaptiveAvgPool{rank}d``.

    Bin ``i`` of ``m`` on an axis of ``n`` reaches from ``floor(i n / m)`` to ``ceil((i + 1) n / m)``: where ``m`` does not
    divide ``n``, neighbours overlap.

    Args:
        size: the output grid, one number or one per axis.

    Example:
        >>> import torch
        >>> AdaptiveAvgPool(2, size=3)(torch.zeros(1, 4, 8, 8)).shape
        torch.Size([1, 4, 3, 3])
    """

    takes = ("map",)

    def __new__(cls, rank: int, *, size: int | list[int]) -> nn.Module:  # type: ignore[misc]
        return ADAPTIVE_AVG_POOLS[rank](expand(size, rank))

    @staticmethod
    def shape(x: Feature, *, size: Extent) -> Feature:
        return x.with_(grid=sized(size, x.rank))


ADAPTIVE_AVG_POOLS: dict[int, type] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def sized(size: Extent, rank: int) -> tuple[int, ...]:
    """``size`` with one number per axis. Raises SpecError if one is below 1."""
    sizes = expand(size, rank)
    if min(sizes, default=1) < 1:
        raise error(f"a size of {'x'.join(map(str, sizes))}", hint="a size is at least 1")
    return sizes
