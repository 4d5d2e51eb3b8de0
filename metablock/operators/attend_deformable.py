"""The core of deformable attention: where to look, how much to take from there, and the looking."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import error
from ..shape import Feature
from .linear import Linear


class AttendDeformable(nn.Module):
    """``sum_lp weight_lp(x) v_l(place + offset_lp(x))`` for each query and head, over a few points of each map of values.

    ``forward(x, v_1, ..., v_levels)`` with queries ``x (b, h, w, c)`` and maps of values ``v_l (b, h_l, w_l, heads * e)`` of any
    extents; returns ``(b, h, w, heads * e)``. ``place`` is the query's own on its map, ``((j + 0.5) / w, (i + 0.5) / h)``, for
    all levels; ``offset`` is in pixels of the level that is read. Between pixels ``v`` is bilinear, outside it is 0. The
    weights of a head are a softmax over its points of all levels. In two dimensions only.

    Args:
        heads: number of heads: consecutive groups of the channels of the values.
        points: how many places a query and head looks at on each level.
        levels: number of maps.

    Deformable DETR, Zhu et al. 2021 (arXiv 2010.04159), Eq. 3, and its start: a head looks in a direction of its own, point
    ``p`` at ``p + 1`` pixels' distance (along the longer axis), and takes the same of all. ``offsets`` gives (x, y) by point,
    level and head, the last the slowest.
    """

    takes = ("grid",)

    def __init__(self, c: int, *, heads: int, points: int = 4, levels: int = 1):
        super().__init__()
        self.heads, self.points, self.levels = heads, points, levels
        self.offsets = Linear(c, out=heads * levels * points * 2)
        self.weights = Linear(c, out=heads * levels * points)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        angle = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        far = torch.arange(1, self.points + 1)[:, None] * direction[:, None, None]
        bias = self.offsets.bias
        assert bias is not None
        with torch.no_grad():
            bias.copy_(far.expand(-1, self.levels, -1, -1).flatten())

    @staticmethod
    def shape(x: Feature, *values: Feature, heads: int) -> Feature:
        if x.rank != 2 or any(v.rank != 2 for v in values):
            rank = next(f.rank for f in (x, *values) if f.rank != 2)
            raise error(f"deformable attention works in 2 dimensions, not in {rank}", hint="`attention` works in 1, 2 and 3")
        if values[0].c % heads:
            raise error(f"{heads} heads do not divide {values[0].c} channels", hint="choose another number of heads, or `ratio=`")
        return x.with_(c=values[0].c)

    def forward(self, x: Tensor, *values: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        offsets, weights = self.offsets(x), self.weights(x)
        # Places are kept in float32 at least: bfloat16 cannot tell the quarter pixels of a map of 64.
        offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
        offsets = offsets.unflatten(-1, (self.heads, self.levels, self.points, 2)).permute(4, 0, 3, 1, 2, 5, 6)
        weights = weights.unflatten(-1, (self.heads, -1)).softmax(-1).permute(0, 3, 1, 2, 4)
        weights = weights.flatten(2, 3).flatten(0, 1).unsqueeze(1).chunk(self.levels, -1)  # b heads, 1, h w, points
        result = x.new_zeros(())
        for v, offset, share in zip(values, offsets, weights, strict=True):
            right = offset[..., 0] / v.shape[2] + self.centres(offset, w)[:, None]
            down = offset[..., 1] / v.shape[1] + self.centres(offset, h)[:, None, None]
            places = 2 * torch.stack([right, down], -1).flatten(2, 3).flatten(0, 1) - 1  # b heads, h w, points, 2
            v = v.unflatten(-1, (self.heads, -1)).permute(0, 3, 4, 1, 2).flatten(0, 1)  # b heads, e, h_l, w_l
            read = F.grid_sample(v.to(places.dtype), places, align_corners=False)
            result = result + (read * share).sum(-1)
        return result.to(values[0].dtype).unflatten(0, (-1, self.heads)).flatten(1, 2).mT.unflatten(1, (h, w))

    def centres(self, like: Tensor, n: int) -> Tensor:
        """The middle of each of ``n`` pixels, from 0 to 1."""
        return (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n
