"""Masks of blocks: rectangles of a map that a method hides."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMALLEST, _TRIES = 16, 10
_ASPECT = (0.3, 1 / 0.3)


@torch._disable_dynamo  # `torch.compiler.disable` that imports dynamo when it is called
def blocks(x: Tensor, count: int, channels: int, height: int, width: int) -> Tensor:
    """Masks for a batch, ``(b, 1, height, width)``: 1 on rectangles that hide up to ``count`` places, 0 elsewhere.

    Rectangles of at least 16 places and of aspects between 0.3 and 1 / 0.3 are drawn, one after the other, from torch's default
    generator, until ``count`` places are hidden, or ten in a row do not fit: blockwise masking of BEiT, Bao et al. 2022,
    Algorithm 1 (arXiv 2106.08254).

    Args:
        x: has the batch, the dtype and the device.
        count: the most places that are hidden.
        channels: 1.
        height, width: extents of the map.

    >>> mask = blocks(torch.zeros(2, 3, 8, 8), 75, 1, 14, 14)
    >>> tuple(mask.shape), bool((mask.sum((1, 2, 3)) <= 75).all())
    ((2, 1, 14, 14), True)
    """
    masks = [_one(count, height, width) for _ in range(x.shape[0])]
    return torch.stack(masks)[:, None].to(x.device, x.dtype)


def _one(count: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(height, width)
    hidden = 0
    while hidden < count:
        more = next(filter(None, (_tried(mask, count - hidden) for _ in range(_TRIES))), 0)
        if not more:
            break
        hidden += more
    return mask


def _tried(mask: Tensor, most: int) -> int:
    """Hides one rectangle of at most ``most`` new places, and returns their number; 0 if the one that is drawn does not fit."""
    height, width = mask.shape
    area = _between(_SMALLEST, most)
    aspect = math.exp(_between(*map(math.log, _ASPECT)))
    h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if not (0 < h < height and 0 < w < width):
        return 0
    top, left = int(torch.randint(height - h + 1, ())), int(torch.randint(width - w + 1, ()))
    part = mask[top : top + h, left : left + w]
    more = h * w - int(part.sum())
    if not 0 < more <= most:
        return 0
    part.fill_(1)
    return more


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
