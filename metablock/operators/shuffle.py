"""Channel shuffle."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import error
from ..shape import Feature, Layout


class Shuffle(nn.Module):
    """Interleaves the channels of all groups: channel ``i`` of group ``g`` moves to ``i * groups + g``, in any layout.

    Args:
        groups: number of equal groups; must divide ``c``.

    Zhang et al. 2018, ShuffleNet (arXiv 1707.01083), figure 1c.

    Example:
        >>> import torch
        >>> Shuffle(6, "vector", groups=2)(torch.arange(6)[None])
        tensor([[0, 3, 1, 4, 2, 5]])
    """

    takes = ("map", "grid", "tokens", "vector")

    def __init__(self, c: int, layout: Layout, *, groups: int):
        super().__init__()
        self.sizes = (groups, c // groups)
        self.axis = 1 if layout == "map" else -1

    @staticmethod
    def shape(x: Feature, *, groups: int) -> Feature:
        if groups < 1 or x.c % groups:
            raise error(f"{groups} groups do not divide {x.c} channels", hint="choose a divisor of the width")
        return x

    def forward(self, x: Tensor) -> Tensor:
        apart = x.unflatten(self.axis, self.sizes)
        if self.axis == 1:
            return apart.transpose(1, 2).flatten(1, 2)
        return apart.transpose(-1, -2).flatten(-2)
