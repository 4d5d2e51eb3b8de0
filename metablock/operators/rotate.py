"""Rotary positions: pairs of channels of queries or keys, rotated by angles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.rotate import RotateRule


class Rotate(RotateRule, nn.Module):
    """Rotates pairs of channels: ``(a, b) -> (a cos - b sin, b cos + a sin)``.

    ``forward(x, cos, sin)`` with ``x (b, ..., heads * width)``, cosine and sine of the angles: ``(b or 1, ..., width / 2)`` for
    all heads alike, or ``(b or 1, ..., heads * width / 2)``; extents between the first and the last axis are flattened to
    tokens. Returns the shape and dtype of ``x``; angles of a higher precision are multiplied in theirs.

    Args:
        width: channels of a head, an even number.
        prefix: number of tokens at the front that are left alone, for which there are no angles.
        halves: which channels make pair ``i`` of a head: ``i`` and ``i + width / 2``, or else ``2 i`` and ``2 i + 1``.

    RoFormer, Su et al. 2021, Eq. 34 (arXiv 2104.09864). Halves: the layout of LLaMA and DINOv3.

    Example:
        >>> quarter = torch.full((1, 1, 1), torch.pi / 2)
        >>> Rotate(width=2)(torch.tensor([[[1.0, 2.0]]]), quarter.cos(), quarter.sin()).round()
        tensor([[[-2.,  1.]]])
    """

    def __init__(self, *, width: int, prefix: int = 0, halves: bool = False):
        super().__init__()
        self.width, self.prefix, self.halves = width, prefix, halves

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        extents = x.shape[1:-1]
        tokens = x.flatten(1, -2)
        heads = tokens[:, self.prefix :].unflatten(-1, (-1, self.width))
        cos, sin = (t.flatten(1, -2).unflatten(-1, (-1, self.width // 2)) for t in (cos, sin))
        a, b = heads.unflatten(-1, (2, -1)).unbind(-2) if self.halves else heads.unflatten(-1, (-1, 2)).unbind(-1)
        axis = -2 if self.halves else -1
        turned = torch.stack([a * cos - b * sin, b * cos + a * sin], axis).flatten(-3).to(x.dtype)
        if self.prefix:
            turned = torch.cat([tokens[:, : self.prefix], turned], 1)
        return turned.unflatten(1, extents)

    def extra_repr(self) -> str:
        return f"{self.width}, prefix={self.prefix}, halves={self.halves}"
