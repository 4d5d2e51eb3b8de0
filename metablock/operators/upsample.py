"""Enlargement by a whole number."""

from __future__ import annotations

from torch import nn

from ..errors import error
from ..shape import Feature
from .resize import MODES, check


class Upsample:
    """Enlargement: ``(b, c, *grid) -> (b, c, *(factor * grid))``. Makes torch's ``nn.Upsample``.

    Args:
        factor: ratio of the output's extents to the input's.
        mode: ``"nearest"``, ``"bilinear"`` (linear in 1-D, trilinear in 3-D; edges aligned, not corners) or ``"bicubic"``
            (2-D).

    Example:
        >>> import torch
        >>> Upsample(1, factor=2)(torch.tensor([[[1.0, 2.0]]]))
        tensor([[[1., 1., 2., 2.]]])
    """

    takes = ("map",)

    def __new__(cls, rank: int, *, factor: int, mode: str = "nearest") -> nn.Upsample:  # type: ignore[misc]
        return nn.Upsample(None, factor, MODES[mode][rank], None if mode == "nearest" else False)

    @staticmethod
    def shape(x: Feature, *, factor: int, mode: str) -> Feature:
        check(mode, x.rank)
        if factor < 1:
            raise error(f"a factor of {factor}", hint="a factor is at least 1; `avg_pool` and `resize` make a map smaller")
        return x.with_(grid=tuple(factor * g for g in x.grid))
