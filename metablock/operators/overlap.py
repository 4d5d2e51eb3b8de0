"""The sum of overlapping windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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
    # Axis by axis, the number of the window and the position in it become the position on the map.
    for axis, (extent, count, step, pad) in enumerate(zip(grid, counts, stride, padding, strict=True), 1):
        places = x.unbind(1 + len(grid))
        reach = (count - 1) * step + 1
        total = max(reach - 1 + len(places), pad + extent)
        y = x.new_zeros((*x.shape[:axis], total, *places[0].shape[axis + 1 :]))
        for offset, part in enumerate(places):
            y[(slice(None),) * axis + (slice(offset, offset + reach, step),)] += part
        x = y.narrow(axis, pad, extent)
    return x


torch.fx.wrap("added")  # writes into slices: one node of a graph that torch.fx traces
