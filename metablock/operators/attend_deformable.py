"""The core of deformable attention: where to look, how much to take from there, and the looking."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.attend_deformable import AttendDeformableRule


class AttendDeformable(AttendDeformableRule, nn.Module):
    """``sum_lp weight_lp(x) v_l(place_l + offset_lp(x))`` for each query and head, over a few points of each map of values.

    ``forward(x, v_1, ..., v_levels)`` with queries ``x (b, h, w, c)`` and maps of values ``v_l (b, h_l, w_l, heads * e)`` of any
    extents; returns ``(b, h, w, heads * e)``. ``place`` is the query's own on its map, ``((j + 0.5) / w, (i + 0.5) / h)``, for
    all levels; ``offset`` is in pixels of the level that is read. Between pixels ``v`` is bilinear, outside it is 0. The
    weights of a head are a softmax over its points of all levels. In two dimensions only.

    ``placed``: ``forward(x, at, v_1, ...)``, where ``at (b, ..., 2)`` are the places (x, y) of queries on any grid, from 0 to 1;
    or ``at (b, ..., 4)``, boxes (x, y, width, height), and an offset is ``box size / 2 / points`` times what is predicted.
    ``shared``: behind the values comes, for each of them, which part of its width and its height is no padding, ``(b, 2)``: the
    places are parts of that. Without ``at`` a last one follows, of the queries' own map.

    Args:
        heads: number of heads: consecutive groups of the channels of the values.
        points: number of points that a query and head reads on each level.
        levels: number of maps.
        placed: whether places come in.
        shared: whether maps have padding.

    Deformable DETR, Zhu et al. 2021 (arXiv 2010.04159), Eq. 3 and Appendix A.4, and its initialisation: each head looks in a
    direction of its own, point ``p`` at a distance of ``p + 1`` pixels (along the longer axis), and weighs all points equally.
    ``offsets`` gives (x, y) by point, level and head, the last the slowest.

    Example:
        >>> attend = AttendDeformable(8, heads=2, points=4, levels=2)
        >>> x, v1, v2 = torch.zeros(1, 6, 6, 8), torch.zeros(1, 6, 6, 8), torch.zeros(1, 3, 3, 8)
        >>> attend(x, v1, v2).shape
        torch.Size([1, 6, 6, 8])
        >>> attend = AttendDeformable(8, heads=2, placed=True)
        >>> attend(torch.zeros(1, 5, 8), torch.rand(1, 5, 4), v1).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, c: int, *, heads: int, points: int = 4, levels: int = 1, placed: bool = False, shared: bool = False):
        super().__init__()
        self.heads, self.points, self.levels, self.placed, self.shared = heads, points, levels, placed, shared
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

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        at, others = (others[0], others[1:]) if self.placed else (None, others)
        values, shares = others[: self.levels], others[self.levels : 2 * self.levels]
        own = others[-1] if self.shared and not self.placed else None
        return read_points(values, self.offsets(x), self.weights(x), self.heads, self.points, at, shares, own)


def read_points(
    values: tuple[Tensor, ...],
    offsets: Tensor,
    weights: Tensor,
    heads: int,
    points: int,
    at: Tensor | None = None,
    shares: tuple[Tensor, ...] = (),
    own: Tensor | None = None,
) -> Tensor:
    """The weighted sum over what each query and head reads.

    Args:
        values: maps ``(b, h_l, w_l, heads * e)``.
        offsets: ``(b, *grid, heads * levels * points * 2)``, in pixels of the map that is read, or in parts of the boxes.
        weights: ``(b, *grid, heads * levels * points)``, before the softmax.
        at: places or boxes ``(b, *grid, 2 or 4)``; by default the middles of the grid's pixels.
        shares: of the extents of each map, which no padding has: ``(b, 2)``.
        own: that of the queries' grid, if they are where they stand.

    Returns:
        ``(b, *grid, heads * e)``.
    """
    grid, levels = offsets.shape[1:-1], len(values)
    # Places are kept in float32 at least: bfloat16 cannot tell the quarter pixels of a map of 64.
    offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
    offsets = offsets.flatten(1, -2).unflatten(-1, (heads, levels, points, 2)).permute(3, 0, 2, 1, 4, 5)
    weights = weights.flatten(1, -2).unflatten(-1, (heads, -1)).softmax(-1).transpose(1, 2)
    weights = weights.flatten(0, 1).unsqueeze(1)  # b heads, 1, queries, levels points
    places = middles(offsets, grid) if at is None else at.to(offsets.dtype).flatten(1, -2)
    if own is not None:
        places = places / own.to(offsets.dtype)[:, None]
    result = weights.new_zeros(())
    for level, (v, offset, weight) in enumerate(zip(values, offsets, weights.chunk(levels, -1), strict=True)):
        here = places
        if shares:
            share = shares[level].to(offsets.dtype)[:, None]
            here = places * (share if places.shape[-1] == 2 else torch.cat([share, share], -1))
        here = here[:, None, :, None]  # b, 1, queries, 1, 2 or 4
        if here.shape[-1] == 4:
            offset = offset / points * here[..., 2:] * 0.5
        else:
            offset = torch.stack([offset[..., 0] / v.shape[2], offset[..., 1] / v.shape[1]], -1)
        looks = 2 * (here[..., :2] + offset).flatten(0, 1) - 1  # b heads, queries, points, 2
        v = v.unflatten(-1, (heads, -1)).permute(0, 3, 4, 1, 2).flatten(0, 1)  # b heads, e, h_l, w_l
        read = F.grid_sample(v.to(looks.dtype), looks, align_corners=False)
        result = result + (read * weight).sum(-1)
    return result.to(values[0].dtype).unflatten(0, (-1, heads)).flatten(1, 2).mT.unflatten(1, grid)


def middles(like: Tensor, grid: Sequence[int]) -> Tensor:
    """The middles (x, y) of the pixels of a grid, from 0 to 1: ``(1, h w, 2)``, with the device and dtype of ``like``."""
    down, right = (torch.arange(n, device=like.device, dtype=like.dtype).add(0.5) / n for n in grid)
    h, w = grid
    return torch.stack([right[None, :].expand(h, w), down[:, None].expand(h, w)], -1).flatten(0, 1)[None]


torch.fx.wrap("read_points")  # makes places from sizes: one node of a graph that torch.fx traces
