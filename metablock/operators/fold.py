"""Channels as positions: the inverse of windows as channels."""

from __future__ import annotations

from torch import Tensor, nn

from ..shape import Layout
from .extents import expand
from .rules.fold import FoldRule, FoldWindowsRule
from .rules.unfold import AXES, ordered


class Fold(FoldRule):
    """Writes the channels into windows: ``(b, c * prod(kernel), *grid) -> (b, c, *(kernel * grid))``, or channels last.

    It undoes ``unfold(kernel, stride=kernel, order=order)``. Makes torch's ``nn.PixelShuffle`` for two-dimensional maps in its
    order, and :class:`FoldWindows` otherwise.

    Args:
        kernel: extent of the window that a position becomes, one number or one per axis.
        order: what the channels are, the slowest first: ``c`` the new channel, ``y`` the row and ``x`` the column inside the
            window (1-D: ``x`` alone; 3-D: ``z`` first). By default ``"c y x"``, as of ``unfold``.

    Sub-pixel convolution, Shi et al. 2016 (arXiv 1609.05158): ``conv(4 * c, 3) >> fold(2)``.

    Example:
        >>> Fold(2, "map", kernel=2)
        PixelShuffle(upscale_factor=2)
    """

    def __new__(  # type: ignore[misc]
        cls, rank: int, layout: Layout, *, kernel: int | list[int], order: str | None = None
    ) -> nn.Module:
        kernels, names = expand(kernel, rank), ordered(order, rank)
        if layout == "map" and names == ("c", "y", "x") and len(set(kernels)) == 1:
            return nn.PixelShuffle(kernels[0])
        return FoldWindows(rank, layout, kernel=list(kernels), order=" ".join(names))


class FoldWindows(FoldWindowsRule, nn.Module):
    """``fold`` in one to three dimensions, any layout and order: ``(b, c * prod(kernel), *grid) -> (b, c, *(kernel * grid))``.

    Args:
        kernel: extent of the window, one number or one per axis.
        order: what the channels are, the slowest first, as of :class:`Fold`.

    Example:
        >>> import torch
        >>> FoldWindows(1, "grid", kernel=2, order="x c")(torch.tensor([[[1, 2, 3, 4]]]))
        tensor([[[1, 2],
                 [3, 4]]])
    """

    def __init__(self, rank: int, layout: Layout, *, kernel: int | list[int], order: str | None = None):
        super().__init__()
        self.kernel, self.order = expand(kernel, rank), ordered(order, rank, "fold")
        self.first = 2 if layout == "map" else 1  # the first axis of the grid

    def forward(self, x: Tensor) -> Tensor:
        rank, first = len(self.kernel), self.first
        channel = 1 if first == 2 else 1 + rank
        sides = dict(zip(AXES[rank], self.kernel, strict=True))
        x = x.unflatten(channel, [sides.get(name, -1) for name in self.order])
        at = {name: channel + i for i, name in enumerate(self.order)}
        place = (
            1 if first == 1 else 2 + rank
        )  # of the first axis of the grid: a map's channels, now 1 + rank axes, come before it
        pairs = [axis for i, name in enumerate(AXES[rank], place) for axis in (i, at[name])]
        x = x.permute(0, at["c"], *pairs) if first == 2 else x.permute(0, *pairs, at["c"])
        for axis in range(rank):
            x = x.flatten(first + axis, first + axis + 1)
        return x
