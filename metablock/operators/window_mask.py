"""The mask of shifted windows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attend import window_regions


class WindowMask(nn.Module):
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

    takes = ("grid",)

    def __init__(self, grid: tuple[int, ...], *, size: list[int], shift: list[int]):
        super().__init__()
        labels = window_regions(grid, size, shift)
        rank = len(grid)
        cut = [n for g, s in zip(grid, size, strict=True) for n in (g // s, s)]
        order = [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)]
        tokens = 1
        for s in size:
            tokens *= s
        windows = labels.reshape(cut).permute(order).reshape(-1, tokens)
        mask = (windows.unsqueeze(1) != windows.unsqueeze(2)).to(torch.get_default_dtype()) * -100.0
        self.register_buffer("mask", mask, persistent=False)
        self.mask: Tensor

    def forward(self) -> Tensor:
        return self.mask
