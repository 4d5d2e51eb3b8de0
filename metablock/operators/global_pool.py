"""From a map, or tokens, to one value per channel."""

from __future__ import annotations

from torch import Tensor, nn

from ..shape import Layout
from .rules.global_pool import GlobalPoolRule


class GlobalPool(GlobalPoolRule, nn.Module):
    """Mean or maximum over all positions: ``(b, c, *grid)``, ``(b, *grid, c)`` or ``(b, N, c) -> (b, c)``.

    Args:
        kind: ``"avg"`` or ``"max"``. (Equal values share the gradient of the maximum.)

    Tokens may have no prefix: a class token is never averaged in unasked. Torch's ``nn.AdaptiveAvgPool2d(1)`` would give
    ``(b, c, 1, 1)``.

    Example:
        >>> import torch
        >>> GlobalPool("map", 2)(torch.zeros(2, 8, 7, 7)).shape
        torch.Size([2, 8])
    """

    def __init__(self, layout: Layout, rank: int, *, kind: str = "avg"):
        super().__init__()
        first = 2 if layout == "map" else 1
        self.axes = (1,) if layout == "tokens" else tuple(range(first, first + rank))
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axes) if self.kind == "avg" else x.amax(self.axes)
