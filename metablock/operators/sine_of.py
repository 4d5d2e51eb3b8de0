"""Sines and cosines of what a network computes: of positions that are counted on a mask, of numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .rules.sine_of import SineOfRule, SineOfValidRule


class SineOfValid(SineOfValidRule, nn.Module):
    """:class:`Sine` of positions counted on a mask: ``(b, *grid, c), (b, *grid, 1) -> (b, *grid, out)``.

    Along an axis the position is the sum of the mask up to there, less 1, plus ``start``; what it is divided by is that of the
    last place of the same line. Without padding it is :class:`Sine`. The arguments are those of :class:`Sine`.

    Args:
        out: number of channels, a multiple of twice the number of axes.
        temperature: the largest wavelength is almost 2 pi times this one.
        order: how channels are ordered, from the slowest to the fastest.
        start: the first position, from which they are counted.
        normalize: whether positions are divided by the last one (plus 1e-6) and multiplied by 2 pi.
        reverse: whether the last axis comes first.
        shift: is added to the positions before they are divided.

    Example:
        >>> mask = torch.tensor([[[1.0], [1.0], [0.0]]])
        >>> SineOfValid(out=2)(torch.zeros(1, 3, 8), mask)[0, :, 0]
        tensor([0.0000, 0.8415, 0.8415])
    """

    def __init__(
        self,
        *,
        out: int,
        temperature: float = 10000.0,
        order: str = "axis wave band",
        start: float = 0.0,
        normalize: bool = False,
        reverse: bool = False,
        shift: float = 0.0,
    ):
        super().__init__()
        self.out, self.temperature, self.order = out, temperature, order
        self.start, self.normalize, self.reverse, self.shift = start, normalize, reverse, shift

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        places = counted(valid, self.start, self.normalize, self.shift)
        return waves_of(places, self.out, self.temperature, self.order, self.reverse).to(x.dtype)

    def extra_repr(self) -> str:
        return f'{self.out}, temperature={self.temperature:g}, order="{self.order}"'


class SineOf(SineOfRule, nn.Module):
    """Sines and cosines of numbers, channel by channel: ``(b, ..., n) -> (b, ..., out)``.

    ``sin(x / temperature ** (k / bands))`` and cosines, with ``bands = out / (2 n)`` frequencies ``k`` for each channel.

    Args:
        out: number of channels, a multiple of twice the number that arrives.
        temperature: the largest wavelength is almost 2 pi times this one.
        order: how channels are ordered, from the slowest to the fastest; an ``axis`` is a channel that arrives.
        reverse: whether the last channel comes first.

    Example:
        >>> SineOf(out=4)(torch.tensor([[0.0, 1.0]]))
        tensor([[0.0000, 1.0000, 0.8415, 0.5403]])
    """

    def __init__(self, *, out: int, temperature: float = 10000.0, order: str = "axis wave band", reverse: bool = False):
        super().__init__()
        self.out, self.temperature, self.order, self.reverse = out, temperature, order, reverse

    def forward(self, x: Tensor) -> Tensor:
        return waves_of(x, self.out, self.temperature, self.order, self.reverse).to(x.dtype)

    def extra_repr(self) -> str:
        return f'{self.out}, temperature={self.temperature:g}, order="{self.order}"'


def counted(valid: Tensor, start: float, normalize: bool, shift: float) -> Tensor:
    """The positions of :class:`SineOfValid`: ``(b, *grid, 1) -> (b, *grid, rank)``."""
    valid, axes = valid.to(torch.promote_types(valid.dtype, torch.float32)), []
    for axis in range(1, valid.dim() - 1):
        count = valid.cumsum(axis) + (start - 1)
        places = count + shift if shift else count
        axes.append(places / (count.narrow(axis, -1, 1) + 1e-6) * (2 * math.pi) if normalize else places)
    return torch.cat(axes, -1)


def waves_of(numbers: Tensor, out: int, temperature: float, order: str, reverse: bool) -> Tensor:
    """Sines and cosines of the numbers in the last axis, ``out`` for all of them."""
    numbers = numbers.to(torch.promote_types(numbers.dtype, torch.float32))
    bands, rank = out // (2 * numbers.shape[-1]), numbers.dim() - 1
    periods = temperature ** (torch.arange(bands, dtype=numbers.dtype, device=numbers.device) / bands)
    angles = numbers[..., None] / periods
    angles = angles.flip(-2) if reverse else angles
    places = [("axis", "wave", "band").index(word) for word in order.split()]
    table = torch.stack([angles.sin(), angles.cos()], -2)
    return table.permute(*range(rank), *(rank + place for place in places)).flatten(rank)


# They read sizes, which torch.fx does not know: each is one node of a graph that it traces.
torch.fx.wrap("counted")
torch.fx.wrap("waves_of")
