"""What arrives, again and again: a map, or the channels of each of its places."""

from __future__ import annotations

from torch import Tensor, nn

from ..shape import Layout
from .extents import expand
from .rules.tile import TileRule


class Tile(TileRule, nn.Module):
    """Copies side by side: ``(b, c, *grid) -> (b, c, *(n * grid))``, or channels last: ``y[i] = x[i % extent]`` on each axis.

    Args:
        n: number of copies along each axis, one number or one per axis.
        over: ``"tokens"``: of the map; or ``"channels"``: of the channels of each place, ``(b, n * c, *grid)``.

    Example:
        >>> import torch
        >>> Tile(1, "map", n=2)(torch.tensor([[[1, 2, 3]]]))
        tensor([[[1, 2, 3, 1, 2, 3]]])
    """

    def __init__(self, rank: int, layout: Layout, *, n: int | list[int], over: str = "tokens"):
        super().__init__()
        copies, channels = ([1] * rank, expand(n, 1)[0]) if over == "channels" else (expand(n, rank), 1)
        self.copies = (1, channels, *copies) if layout == "map" else (1, *copies, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(self.copies)
