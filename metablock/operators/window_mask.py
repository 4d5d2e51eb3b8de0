"""The mask of shifted windows."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from .attend import window_regions
from .rules.window_mask import WindowMaskRule


class WindowMask(WindowMaskRule, nn.Module):
    """``() -> (windows, N, N)``: -100 between tokens of a window that were not neighbours before the roll, else 0.

    -100 and not minus infinity, as in the official code of Swin (arXiv 2103.14030): exactness needs it.

    Args:
        grid: extents of the map.
        size: extents of a window; they divide the grid.
        shift: how far the map was rolled along each axis.

    Example:
        >>> mask = WindowMask((4,), size=[2], shift=[1])
        >>> mask().int().tolist()
        [[[0, 0], [0, 0]], [[0, -100], [-100, 0]]]
    """

    mask: Tensor

    def __init__(self, grid: tuple[int, ...], *, size: list[int], shift: list[int]):
        super().__init__()
        self.grid, self.size, self.shift = tuple(grid), tuple(size), tuple(shift)
        windows, tokens = prod(grid) // prod(size), prod(size)
        self.register_buffer("mask", torch.empty(windows, tokens, tokens), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.mask.is_meta:
            return  # there is no number to set
        grid, size = self.grid, self.size
        labels = window_regions(grid, size, self.shift, self.mask.device)
        rank = len(grid)
        cut = [n for g, s in zip(grid, size, strict=True) for n in (g // s, s)]
        order = [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)]
        windows = labels.reshape(cut).permute(order).reshape(self.mask.shape[:2])
        self.mask.copy_((windows.unsqueeze(1) != windows.unsqueeze(2)).to(self.mask.dtype) * -100.0)

    def forward(self) -> Tensor:
        return self.mask
