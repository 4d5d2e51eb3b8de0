"""Enlargement by a whole number."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import error
from ..shape import Feature
from .resize import check, interpolate


class Upsample(nn.Module):
    """Enlargement: ``(b, c, *grid) -> (b, c, *(factor * grid))``.

    Args:
        factor: how often each axis is longer.
        mode: ``"nearest"``, ``"bilinear"`` (linear in 1-D, trilinear in 3-D; edges aligned, not corners) or ``"bicubic"``
            (2-D).
    """

    takes = ("map",)

    def __init__(self, *, factor: int, mode: str = "nearest"):
        super().__init__()
        self.factor, self.mode = factor, mode

    @staticmethod
    def shape(x: Feature, *, factor: int, mode: str) -> Feature:
        check(mode, x.rank)
        if factor < 1:
            raise error(f"a factor of {factor}", hint="a factor is at least 1; `avg_pool` and `resize` make a map smaller")
        return x.with_(grid=tuple(factor * g for g in x.grid))

    def forward(self, x: Tensor) -> Tensor:
        return interpolate(x, tuple(self.factor * g for g in x.shape[2:]), self.mode)
