"""Sliding windows as channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..shape import Layout
from .conv import pad_same
from .extents import expand, same_sides
from .rules.unfold import AXES, UnfoldRule, missing, ordered


class Unfold(UnfoldRule, nn.Module):
    """Writes each sliding window into the channels: ``(b, c, *grid) -> (b, c * prod(kernel), *grid')``, or channels last.

    Args:
        kernel: extent of the window, one number or one per axis.
        stride: step, one number or one per axis.
        order: the order of the new channels, the slowest first: ``c`` the old channel, ``y`` the row and ``x`` the column
            inside the window (1-D: ``x`` alone; 3-D: ``z`` first). By default ``"c y x"``, torch's ``F.unfold``. ``"x y c"``
            is Swin's patch merging, where the row varies faster than the column and each position keeps its ``c`` channels
            together.
        padding: zeros per side, by default ``ceil((kernel - stride) / 2)``; ``"same"`` is TensorFlow's rule, which may put one
            more zero at the end than at the start.
        ceil: whether to keep a last window that sticks out. It sees zeros there.

    Windows that touch without overlap (``stride = kernel``, no padding) take a reshape and a transposition.

    Example:
        >>> Unfold(2, "map", kernel=2, stride=2)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 12, 4, 4])
    """

    def __init__(
        self,
        rank: int,
        layout: Layout,
        *,
        kernel: int | list[int],
        stride: int | list[int] = 1,
        order: str | None = None,
        padding: int | list[int] | str | None = None,
        ceil: bool = False,
    ):
        super().__init__()
        self.kernel, self.stride = expand(kernel, rank), expand(stride, rank)
        self.same, self.padding = same_sides(padding, self.kernel, self.stride, (1,) * rank)
        self.ceil = ceil and padding != "same"  # whose last window never sticks out
        self.order = ordered(order, rank)
        self.first = 2 if layout == "map" else 1  # the first axis of the grid

    def forward(self, x: Tensor) -> Tensor:
        rank, first = len(self.kernel), self.first
        if self.same:
            x = pad_same(x, self.kernel, self.stride, (1,) * rank, first=first)
        elif self.ceil:
            x = pad_windows(x, first, self.kernel, self.stride, self.padding)
        elif any(self.padding):
            pads = [side for side in reversed(self.padding) for _ in range(2)]
            x = F.pad(x, pads if first == 2 else [0, 0, *pads])
        # Each axis of the grid becomes two: which window (its place), and where inside the window.
        if self.kernel == self.stride:
            for axis in reversed(range(rank)):
                k, count = self.kernel[axis], x.shape[first + axis] // self.kernel[axis]
                x = x.narrow(first + axis, 0, count * k).unflatten(first + axis, (count, k))
            places = [first + 2 * axis for axis in range(rank)]
            inside = [place + 1 for place in places]
            channel = 1 if first == 2 else 1 + 2 * rank
        else:
            places = [first + axis for axis in range(rank)]
            inside = [2 + rank + axis for axis in range(rank)]  # `Tensor.unfold` puts it at the end
            channel = 1 if first == 2 else 1 + rank
            for place, k, s in zip(places, self.kernel, self.stride, strict=True):
                x = x.unfold(place, k, s)
        at = dict(zip(AXES[rank], inside, strict=True)) | {"c": channel}
        window = [at[name] for name in self.order]
        if first == 2:
            return x.permute(0, *window, *places).flatten(1, 1 + rank)
        return x.permute(0, *places, *window).flatten(1 + rank)


def pad_windows(x: Tensor, first: int, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """Pads the axes from ``first`` on with zeros on both sides, and further ones at the end for a last whole window."""
    grid = tuple(x.shape[first : first + len(kernel)])
    ends = missing(grid, kernel, stride, padding)
    pads = [p for side, end in zip(reversed(padding), reversed(ends), strict=True) for p in (side, side + end)]
    return F.pad(x, pads if first == 2 else [0, 0, *pads]) if any(pads) else x


torch.fx.wrap("pad_same")
torch.fx.wrap("pad_windows")  # reads sizes, which torch.fx does not know: one node of the traced graph
