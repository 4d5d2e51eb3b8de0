"""Dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature, Layout


class Dropout(nn.Dropout):
    """``x * keep / (1 - rate)``, each number kept with probability ``1 - rate``; in evaluation ``x``. In any layout.

    Args:
        rate: share of the numbers that become 0, in ``[0, 1)``.
        channels: keep or drop whole channels of an image, over all positions (Tompson et al. 2015, torch's ``Dropout2d``).

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

    takes = ("map", "grid", "tokens", "vector")
    rate: Tensor

    def __init__(self, layout: Layout = "map", *, rate: float, channels: bool = False):
        nn.Module.__init__(self)  # torch's own would keep the rate as a Python number
        self.inplace = False
        self.initial = checked(rate)
        self.axis = None if not channels else 1 if layout == "map" else -1
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

    @staticmethod
    def shape(x: Feature, *, rate: float) -> Feature:
        checked(rate)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return drop_entries(x, self.rate, self.training, self.axis)


def checked(rate: float) -> float:
    """The rate itself. Raises SpecError if it is not in ``[0, 1)``."""
    if not 0 <= rate < 1:
        raise error(f"a drop rate of {rate}", hint="a rate is at least 0 and below 1")
    return rate


def drop_entries(x: Tensor, rate: Tensor, training: bool, axis: int | None = None) -> Tensor:
    """In training, zeroes entries, or those of the batch and an axis, with probability ``rate`` and scales the rest by
    ``1 / (1 - rate)``."""
    if not training:
        return x
    if axis is None:
        return keep(x, x.shape, rate)
    size = [1] * x.dim()
    size[0], size[axis] = x.shape[0], x.shape[axis]
    return keep(x, tuple(size), rate)


def keep(x: Tensor, size: tuple[int, ...], rate: Tensor) -> Tensor:
    """Inverted dropout with a mask of shape ``size``, which is broadcast to ``x``."""
    # Drawn in float32 whatever x is: bfloat16 has 256 numbers between 0 and 1, too few for a rate.
    mask = torch.rand(size, device=x.device, dtype=torch.float32) >= rate
    return x * (mask / (1 - rate)).to(x.dtype)


torch.fx.wrap("drop_entries")  # one node of a traced graph, in training and in evaluation
