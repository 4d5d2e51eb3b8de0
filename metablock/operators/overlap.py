"""The sum of overlapping windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.overlap import OverlapRule


class Overlap(OverlapRule, nn.Module):
    """Adds up sliding windows: ``(b * windows, *size, c) -> (b, *grid, c)``, in one to three dimensions.

    Args:
        counts: number of windows per axis.
        stride: distance between windows.
        padding: how far before the map the first window begins; positions outside the map are left out.

    ``F.fold`` with the channels last. Positions that no window reaches are 0.

    Example:
        >>> windows = torch.ones(2, 3, 1)  # two windows of three positions
        >>> Overlap((5,), counts=[2], stride=[2], padding=[0])(windows).flatten()
        tensor([1., 1., 2., 1., 1.])
    """

    def __init__(self, grid: tuple[int, ...], *, counts: list[int], stride: list[int], padding: list[int]):
        super().__init__()
        self.grid, self.counts, self.stride, self.padding = tuple(grid), tuple(counts), tuple(stride), tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        return added(x.unflatten(0, (-1, *self.counts)), self.grid, self.counts, self.stride, self.padding)


def added(x: Tensor, grid: Sequence[int], counts: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """The sum of windows that lie on one map: ``(b, *counts, *size, c) -> (b, *grid, c)``."""
    # Axis by axis, the number of the window and the position in it become the position on the map. The map is cut into blocks as
    # long as the stride: a block gets the first part of its own window, the second of the window before, ...: a sum of few
    # shifted tensors, which a compiler computes in one pass (writing into slices would take one for each position of a window).
    for axis, (extent, step, pad) in enumerate(zip(grid, stride, padding, strict=True), 1):
        parts = x.split(step, 1 + len(grid))
        y = shifted(parts, axis, step, len(grid)).flatten(axis, axis + 1)
        missing = pad + extent - y.shape[axis]
        if missing > 0:
            y = F.pad(y, [0, 0] * (y.dim() - 1 - axis) + [0, missing])
        x = y.narrow(axis, pad, extent)
    return x


def shifted(parts: Sequence[Tensor], axis: int, step: int, rank: int) -> Tensor:
    """The sum of the parts of windows, each one block behind the one before: ``(..., count + len(parts) - 1, step, ...)``."""
    total = None
    for late, part in enumerate(parts):
        part = part.movedim(1 + rank, axis + 1)
        ends = [late, len(parts) - 1 - late]
        part = F.pad(part, [0, 0] * (part.dim() - 2 - axis) + [0, step - part.shape[axis + 1], *ends])
        total = part if total is None else total + part
    assert total is not None
    return total


torch.fx.wrap("added")  # reads sizes: one node of a graph that torch.fx traces
