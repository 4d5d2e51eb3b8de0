"""Enlargement by a whole number."""

from __future__ import annotations

from torch import nn

from .rules.resize import MODES
from .rules.upsample import UpsampleRule


class Upsample(UpsampleRule):
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

    def __new__(cls, rank: int, *, factor: int, mode: str = "nearest") -> nn.Upsample:  # type: ignore[misc]
        return nn.Upsample(None, factor, MODES[mode][rank], None if mode == "nearest" else False)
