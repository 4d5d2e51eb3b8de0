"""Maximum pooling."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ..shape import Feature
from .avg_pool import pooled
from .conv import pad_same
from .extents import Extent, expand, same_sides, slide

MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class MaxPool(nn.Module):
    """Maximum over a sliding window: ``(b, c, *grid) -> (b, c, *grid')``.

    Args:
        kernel: extent of the window, one number or one an axis.
        stride: step, one number or one an axis.
        padding: places a side that never win, by default ``ceil((kernel - stride) / 2)``; ``"same"`` is TensorFlow's rule,
            which may put one more at the end than at the start.
    """

    takes = ("map",)

    def __init__(
        self,
        rank: int,
        *,
        kernel: int | list[int],
        stride: int | list[int] = 1,
        padding: int | list[int] | str | None = None,
    ):
        super().__init__()
        self.kernel, self.stride = expand(kernel, rank), expand(stride, rank)
        self.same, self.padding = same_sides(padding, self.kernel, self.stride, (1,) * rank)

    @staticmethod
    def shape(x: Feature, *, kernel: Extent, stride: Extent, padding: Extent | str | None) -> Feature:
        if isinstance(padding, str):
            return x.with_(grid=slide(x.grid, kernel, stride, padding))
        return x.with_(grid=pooled(x.grid, kernel, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            x = pad_same(x, self.kernel, self.stride, (1,) * len(self.kernel), value=-math.inf)
        return MAX_POOL[x.dim() - 2](x, self.kernel, self.stride, self.padding)
