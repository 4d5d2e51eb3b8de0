"""Dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature


class Dropout(nn.Module):
    """``x * keep / (1 - rate)``, each number kept with probability ``1 - rate``; in evaluation ``x``. In any layout.

    Args:
        rate: share of the numbers that become 0, in ``[0, 1)``.

    Srivastava et al. 2014. The rate is a buffer outside the state dict, so that blocks with different rates share one graph
    (torch's ``nn.Dropout`` keeps a Python number). The numbers drawn are therefore not those of ``nn.Dropout``.
    """

    takes = ("map", "grid", "tokens", "vector")
    rate: Tensor

    def __init__(self, *, rate: float):
        super().__init__()
        self.initial = checked(rate)
        self.register_buffer("rate", torch.empty(1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.rate.fill_(self.initial)

    @staticmethod
    def shape(x: Feature, *, rate: float) -> Feature:
        checked(rate)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return keep(x, x.shape, self.rate) if self.training else x


def checked(rate: float) -> float:
    """The rate, if it is one."""
    if not 0 <= rate < 1:
        raise error(f"a drop rate of {rate}", hint="a rate is at least 0 and below 1")
    return rate


def keep(x: Tensor, size: tuple[int, ...], rate: Tensor) -> Tensor:
    """``x`` with some of its parts dropped and the others enlarged; ``size`` says what is one part."""
    # Drawn in float32 whatever x is: bfloat16 has 256 numbers between 0 and 1, too few for a rate.
    kept = torch.rand(size, device=x.device, dtype=torch.float32) >= rate
    return x * (kept / (1 - rate)).to(x.dtype)
