"""A map again and again."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import error
from ..shape import Feature, Layout
from .extents import Extent, expand


class Tile(nn.Module):
    """Copies side by side: ``(b, c, *grid) -> (b, c, *(n * grid))``, or channels last: ``y[i] = x[i % extent]`` on each axis.

    Args:
        n: number of copies along each axis, one number or one per axis.

    Example:
        >>> import torch
        >>> Tile(1, "map", n=2)(torch.tensor([[[1, 2, 3]]]))
        tensor([[[1, 2, 3, 1, 2, 3]]])
    """

    takes = ("grid", "map")

    def __init__(self, rank: int, layout: Layout, *, n: int | list[int]):
        super().__init__()
        copies = expand(n, rank)
        self.copies = (1, 1, *copies) if layout == "map" else (1, *copies, 1)

    @staticmethod
    def shape(x: Feature, *, n: Extent) -> Feature:
        copies = expand(n, x.rank)
        if min(copies) < 1:
            raise error(f"{n} copies", hint="at least 1 along each axis")
        return x.with_(grid=tuple(g * k for g, k in zip(x.grid, copies, strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(self.copies)
