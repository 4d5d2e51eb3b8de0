"""Average pooling to a given size."""

from __future__ import annotations

from torch import nn

from .extents import expand
from .rules.adaptive_avg_pool import AdaptiveAvgPoolRule


class AdaptiveAvgPool(AdaptiveAvgPoolRule):
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

    def __new__(cls, rank: int, *, size: int | list[int]) -> nn.Module:  # type: ignore[misc]
        return ADAPTIVE_AVG_POOLS[rank](expand(size, rank))


ADAPTIVE_AVG_POOLS: dict[int, type] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
