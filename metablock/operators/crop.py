"""A part of a map."""

from __future__ import annotations

from torch import Tensor, nn

from ..shape import Layout
from .extents import expand
from .rules.crop import CropRule


class Crop(CropRule, nn.Module):
    """What stands inside: ``(b, c, *grid) -> (b, c, *size)``, or channels last.

    Args:
        size: the output grid, one number or one per axis.
        start: the first position that stays, one number or one per axis; by default the middle stays, and of an odd rest one more
            is cut off behind it than before.

    The scores of FCN, Long et al. 2015 (arXiv 1411.4038): ``crop(grid, 19)``; the skips of U-Net (arXiv 1505.04597): its middle.

    Example:
        >>> import torch
        >>> Crop(1, "map", size=2)(torch.tensor([[[1, 2, 3, 4, 5]]]))
        tensor([[[2, 3]]])
    """

    def __init__(self, rank: int, layout: Layout, *, size: int | list[int], start: int | list[int] | None = None):
        super().__init__()
        self.size, self.start = expand(size, rank), None if start is None else expand(start, rank)
        self.axis = 2 if layout == "map" else 1

    def forward(self, x: Tensor) -> Tensor:
        for axis, size in enumerate(self.size, start=self.axis):
            first = (x.shape[axis] - size) // 2 if self.start is None else self.start[axis - self.axis]
            x = x.narrow(axis, first, size)
        return x

    def extra_repr(self) -> str:
        return f"{self.size}" if self.start is None else f"{self.size}, {self.start}"
