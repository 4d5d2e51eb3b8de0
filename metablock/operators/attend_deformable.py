"""The core of deformable attention: where to look, how much to take from there, and the looking."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature


class AttendDeformable(nn.Module):
    """``sum_lp weight_lp(x) v_l(place + offset_lp(x))`` for each query and head, over a few points of each map of values.

    ``forward(x, v_1, ..., v_levels)`` with queries ``x (b, h, w, c)`` and maps of values ``v_l (b, h_l, w_l, heads * e)`` of any
    extents; returns ``(b, h, w, heads * e)``. ``place`` is the query's own on its map, ``((j + 0.5) / w, (i + 0.5) / h)``, for
    all levels; ``offset`` is in pixels of the level that is read. Between pixels ``v`` is bilinear, outside it is 0. The
    weights of a head are a softmax over its points of all levels. In two dimensions only.

    Args:
        heads: number of heads: consecutive groups of the channels of the values.
        points: number of points that a query and head reads on each level.
        levels: number of maps.

    Deformable DETR, Zhu et al. 2021 (arXiv 2010.04159), Eq. 3, and its initialisation: each head looks in a direction of its own,
    point ``p`` at a distance of ``p + 1`` pixels (along the longer axis), and weighs all points equally. ``offsets`` gives (x, y)
    by point, level and head, the last the slowest.

    Example:
        >>> attend = AttendDeformable(8, heads=2, points=4, levels=2)
        >>> x, v1, v2 = torch.zeros(1, 6, 6, 8), torch.zeros(1, 6, 6, 8), torch.zeros(1, 3, 3, 8)
        >>> attend(x, v1, v2).shape
        torch.Size([1, 6, 6, 8])
    """

    takes = ("grid",)

    def __init__(self, c: int, *, heads: int, points: int = 4, levels: int = 1):
        super().__init__()
        self.heads, self.points, self.levels = heads, points, levels
        self.offsets = nn.Linear(c, heads * levels * points * 2)
        self.weights = nn.Linear(c, heads * levels * points)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        angle = torch.arange(self.heads, dtype=self.offsets.bias.dtype) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        far = torch.arange(1, self.points + 1)[:, None] * direction[:, None, None]
        with torch.no_grad():
            self.offsets.bias.copy_(far.expand(-1, self.levels, -1, -1).flatten())

    @staticmethod
    def shape(x: Feature, *values: Feature, heads: int) -> Feature:
        if x.rank != 2 or any(v.rank != 2 for v in values):
            rank = next(f.rank for f in (x, *values) if f.rank != 2)
            raise error(f"deformable attention works in 2 dimensions, not in {rank}", hint="`attention` works in 1, 2 and 3")
        if values[0].c % heads:
            raise error(f"{heads} heads do not divide {values[0].c} channels", hint="choose another number of heads, or `ratio=`")
        return x.with_(c=values[0].c)

    def forward(self, x: Tensor, *values: Tensor) -> Tensor:
        return read_points(values, self.offsets(x), self.weights(x), self.heads, self.points)


def read_points(values: tuple[Tensor, ...], offsets: Tensor, weights: Tensor, heads: int, points: int) -> Tensor:
    """The weighted sum over what each query and head reads.

    Args:
        values: maps ``(b, h_l, w_l, heads * e)``.
        offsets: ``(b, h, w, heads * levels * points * 2)``, in pixels of the map that is read.
        weights: ``(b, h, w, heads * levels * points)``, before the softmax.

    Returns:
        ``(b, h, w, heads * e)``.
    """
    (h, w), levels = offsets.shape[1:3], len(values)
    # Places are kept in float32 at least: bfloat16 cannot tell the quarter pixels of a map of 64.
    offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
    offsets = offsets.unflatten(-1, (heads, levels, points, 2)).permute(4, 0, 3, 1, 2, 5, 6)
    weights = weights.unflatten(-1, (heads, -1)).softmax(-1).permute(0, 3, 1, 2, 4)
    weights = weights.flatten(2, 3).flatten(0, 1).unsqueeze(1)  # b heads, 1, h w, levels points
    result = weights.new_zeros(())
    for v, offset, share in zip(values, offsets, weights.chunk(levels, -1), strict=True):
        right = offset[..., 0] / v.shape[2] + centres(offset, w)[:, None]
        down = offset[..., 1] / v.shape[1] + centres(offset, h)[:, None, None]
        places = 2 * torch.stack([right, down], -1).flatten(2, 3).flatten(0, 1) - 1  # b heads, h w, points, 2
        v = v.unflatten(-1, (heads, -1)).permute(0, 3, 4, 1, 2).flatten(0, 1)  # b heads, e, h_l, w_l
        read = F.grid_sample(v.to(places.dtype), places, align_corners=False)
        result = result + (read * share).sum(-1)
    return result.to(values[0].dtype).unflatten(0, (-1, heads)).flatten(1, 2).mT.unflatten(1, (h, w))


def centres(like: Tensor, n: int) -> Tensor:
    """The middle of each of ``n`` pixels, from 0 to 1, with the device and dtype of ``like``."""
    return (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n


torch.fx.wrap("read_points")  # makes places from sizes: one node of a graph that torch.fx traces
