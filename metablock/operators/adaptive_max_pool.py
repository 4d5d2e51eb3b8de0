"""Maximum pooling to a given size."""

from __future__ import annotations

from torch import nn

from .extents import expand
from .rules.adaptive_max_pool import AdaptiveMaxPoolRule


class AdaptiveMaxPool(AdaptiveMaxPoolRule):
    """Maximum over a given number of bins: ``(b, c, *grid) -> (b, c, *size)``. Makes torch's ``nn.AdaptiveMaxPool{rank}d``.

    The bins are those of ``adaptive_avg_pool``.

    Args:
        size: the output grid, one number or one per axis.

    Example:
        >>> import torch
        >>> AdaptiveMaxPool(1, size=3)(torch.zeros(1, 4, 8)).shape
        torch.Size([1, 4, 3])
    """

    def __new__(cls, rank: int, *, size: int | list[int]) -> nn.Module:  # type: ignore[misc]
        return ADAPTIVE_MAX_POOLS[rank](expand(size, rank))


ADAPTIVE_MAX_POOLS: dict[int, type] = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}
