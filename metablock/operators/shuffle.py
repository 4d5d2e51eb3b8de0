"""Channel shuffle."""

from __future__ import annotations

from torch import Tensor, nn

from ..shape import Layout
from .rules.shuffle import ShuffleLastRule, ShuffleRule


class Shuffle(ShuffleRule):
    """Interleaves the channels of all groups: channel ``i`` of group ``g`` moves to ``i * groups + g``, in any layout.

    Makes torch's ``nn.ChannelShuffle`` for maps, and :class:`ShuffleLast` where the channels are last.

    Args:
        groups: number of equal groups; must divide ``c``.

    Zhang et al. 2018, ShuffleNet (arXiv 1707.01083), figure 1c.

    Example:
        >>> Shuffle("map", groups=2)
        ChannelShuffle(groups=2)
    """

    def __new__(cls, layout: Layout, *, groups: int) -> nn.Module:  # type: ignore[misc]
        return nn.ChannelShuffle(groups) if layout == "map" else ShuffleLast(groups=groups)


class ShuffleLast(ShuffleLastRule, nn.Module):
    """``nn.ChannelShuffle`` on the last axis: ``(b, ..., c) -> (b, ..., c)``.

    Args:
        groups: number of equal groups; must divide ``c``.

    Example:
        >>> import torch
        >>> ShuffleLast(groups=2)(torch.arange(6)[None])
        tensor([[0, 3, 1, 4, 2, 5]])
    """

    def __init__(self, *, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.groups, -1)).transpose(-1, -2).flatten(-2)
