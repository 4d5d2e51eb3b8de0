"""Windows that overlap, added up."""

from __future__ import annotations

from torch import Tensor, nn


class Overlap(nn.Module):
    """The inverse of a sliding window, by sums: ``(b * windows, *size, c) -> (b, *grid, c)``, in one to three dimensions.

    Args:
        counts: windows an axis.
        stride: how far they are apart.
        padding: how far the first one begins before the map; what lies outside is left out.

    ``F.fold`` with the channels last. Places that no window reaches are 0.
    """

    takes = ("grid",)

    def __init__(self, grid: tuple[int, ...], *, counts: list[int], stride: list[int], padding: list[int]):
        super().__init__()
        self.grid, self.counts, self.stride, self.padding = tuple(grid), tuple(counts), tuple(stride), tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        rank = len(self.grid)
        x = x.unflatten(0, (-1, *self.counts))
        # Axis by axis, the number of the window and the place in it become the place on the map.
        for axis, (extent, count, step, pad) in enumerate(zip(self.grid, self.counts, self.stride, self.padding, strict=True), 1):
            places = x.unbind(1 + rank)
            reach = (count - 1) * step + 1
            total = max(reach - 1 + len(places), pad + extent)
            y = x.new_zeros((*x.shape[:axis], total, *places[0].shape[axis + 1 :]))
            for offset, part in enumerate(places):
                y[(slice(None),) * axis + (slice(offset, offset + reach, step),)] += part
            x = y.narrow(axis, pad, extent)
        return x
