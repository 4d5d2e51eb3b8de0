"""Dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.dropout import ChannelDropoutRule, DropoutRule, checked


class Dropout(DropoutRule, nn.Dropout):
    """``x * keep / (1 - rate)``, each number kept with probability ``1 - rate``; in evaluation ``x``. In any layout.

    Args:
        rate: share of the numbers that become 0, in ``[0, 1)``.

    Srivastava et al. 2014. A subclass of torch's ``nn.Dropout`` with its own ``forward``: the rate is a buffer outside the state
    dict, so that modules with different rates share one compiled graph. It therefore draws other random numbers than
    ``nn.Dropout``. Tools may read and set the rate as ``p``.

    Example:
        >>> drop = Dropout(rate=0.25)
        >>> drop.eval()(torch.ones(3))
        tensor([1., 1., 1.])
        >>> drop.p = 0.0
        >>> drop.train()(torch.ones(3))
        tensor([1., 1., 1.])
    """

    rate: Tensor

    def __init__(self, *, rate: float):
        nn.Module.__init__(self)  # torch's own would keep the rate as a Python number
        self.inplace = False
        self.initial = checked(rate)
        self.register_buffer("rate", torch.empty(1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.rate.fill_(self.initial)

    @property
    def p(self) -> float:
        """The rate; setting it takes effect at once."""
        return self.initial

    @p.setter
    def p(self, rate: float) -> None:
        self.initial = checked(rate)
        self.rate.fill_(rate)

    def forward(self, x: Tensor) -> Tensor:
        return drop_entries(x, self.rate, self.training)


class ChannelDropout(ChannelDropoutRule, Dropout):
    """Dropout of whole channels, over all positions of a map: ``(b, c, *grid) -> (b, c, *grid)``.

    Args:
        rate: share of the channels that become 0, in ``[0, 1)``.

    Tompson et al. 2015 (arXiv 1411.4280); torch's ``nn.Dropout2d``, with its rate where that of ``dropout`` is.

    Example:
        >>> y = ChannelDropout(rate=0.5)(torch.ones(4, 8, 3, 5)).flatten(2)
        >>> torch.equal(y, y[..., :1].expand_as(y))
        True
    """

    def __init__(self, *, rate: float):
        super().__init__(rate=rate)

    def forward(self, x: Tensor) -> Tensor:
        return drop_channels(x, self.rate, self.training)


def drop_entries(x: Tensor, rate: Tensor, training: bool) -> Tensor:
    """In training, zeroes entries with probability ``rate`` and scales the rest by ``1 / (1 - rate)``."""
    return keep(x, x.shape, rate) if training else x


def drop_channels(x: Tensor, rate: Tensor, training: bool) -> Tensor:
    """In training, zeroes channels of an item with probability ``rate`` and scales the others by ``1 / (1 - rate)``."""
    return keep(x, x.shape[:2] + (1,) * (x.dim() - 2), rate) if training else x


def keep(x: Tensor, size: tuple[int, ...], rate: Tensor) -> Tensor:
    """Inverted dropout with a mask of shape ``size``, which is broadcast to ``x``."""
    # Drawn in float32 whatever x is: bfloat16 has 256 numbers between 0 and 1, too few for a rate.
    mask = torch.rand(size, device=x.device, dtype=torch.float32) >= rate
    return x * (mask / (1 - rate)).to(x.dtype)


torch.fx.wrap("drop_entries")  # one node of a traced graph, in training and in evaluation
torch.fx.wrap("drop_channels")
