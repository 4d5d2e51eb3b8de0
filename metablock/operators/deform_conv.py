"""Deformable convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .conv import CONVS
from .extents import expand
from .rules.deform_conv import DeformConvRule


class DeformConv(DeformConvRule, nn.Module):
    """Deformable convolution with its own offsets: ``(b, c, h, w) -> (b, out, h', w')``. In two dimensions only.

    ``y(p) = sum_k W_k x(p * stride - padding + k + offset_k(p)) + bias``: an ordinary convolution of the same extent,
    ``offset``, says where each tap ``k`` of the kernel reads. Between pixels ``x`` is bilinear, outside it is 0 (a place counts
    only where ``-1 < y < h`` and ``-1 < x < w``; neighbours outside are 0).

    Args:
        out: number of output channels.
        kernel: extent of the kernel, one number or one per axis.
        stride: step, one number or one per axis.
        padding: zeros per side, one number or one per axis.
        bias: whether to add a constant to each channel.

    Dai et al. 2017 (arXiv 1703.06211), with one group of offsets and no modulation, as LIT v1 and v2 merge tokens (arXiv
    2205.13213). The channels of ``offset`` are (dy, dx) of tap (0, 0), of tap (0, 1), ... Weight: Kaiming uniform with ``a =
    sqrt(5)``; the offsets start as 0, which makes it an ordinary convolution.

    Example:
        >>> DeformConv(3, 2, out=8, kernel=2, stride=2)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 8, 4, 4])
    """

    roles = {"weight": "matrix"}

    def __init__(
        self,
        c: int,
        rank: int,
        *,
        out: int,
        kernel: int | list[int],
        stride: int | list[int] = 1,
        padding: int | list[int] = 0,
        bias: bool = True,
    ):
        super().__init__()
        self.kernel, self.stride, self.padding = expand(kernel, rank), expand(stride, rank), expand(padding, rank)
        taps = math.prod(self.kernel)
        self.offset = CONVS[rank](c, 2 * taps, self.kernel, self.stride, self.padding)
        self.weight = nn.Parameter(torch.empty(out, c, *self.kernel))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        offset = self.offset(x)
        taps = self.sample(x, offset)
        y = self.weight.flatten(1) @ taps
        if self.bias is not None:
            y = y + self.bias[:, None]
        return y.unflatten(2, offset.shape[2:])

    def sample(self, x: Tensor, offset: Tensor) -> Tensor:
        """What each tap reads: ``(b, c, h, w), (b, 2 k, h', w') -> (b, c k, h' w')``."""
        return read_taps(x, offset, self.kernel, self.stride, self.padding)


def read_taps(x: Tensor, offset: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """What each tap of a deformable convolution reads: ``(b, c, h, w), (b, 2 k, h', w') -> (b, c k, h' w')``."""
    c, h, w = x.shape[1:]
    # Places are kept in float32 at least: bfloat16 cannot tell the quarter pixels of a map of 64.
    offset = offset.to(torch.promote_types(offset.dtype, torch.float32))
    origins = [
        torch.arange(k, device=x.device, dtype=offset.dtype)[:, None]
        + torch.arange(n, device=x.device, dtype=offset.dtype) * s
        - p
        for k, n, s, p in zip(kernel, offset.shape[2:], stride, padding, strict=True)
    ]
    dy, dx = offset.unflatten(1, (*kernel, 2)).unbind(3)
    rows = dy + origins[0].view(1, -1, 1, offset.shape[2], 1)
    columns = dx + origins[1].view(1, 1, -1, 1, offset.shape[3])
    inside = (rows > -1) & (rows < h) & (columns > -1) & (columns < w)
    top, left = rows.floor(), columns.floor()
    pixels, result = x.flatten(2), x.new_zeros(())
    for i, part_i in ((top, top + 1 - rows), (top + 1, rows - top)):
        for j, part_j in ((left, left + 1 - columns), (left + 1, columns - left)):
            counts = inside & (i >= 0) & (i < h) & (j >= 0) & (j < w)
            share = torch.where(counts, part_i * part_j, 0.0).to(x.dtype)
            # Clamped as integers: even an infinite offset reads inside.
            index = i.long().clamp(0, h - 1) * w + j.long().clamp(0, w - 1)
            read = pixels.gather(2, index.flatten(1).unsqueeze(1).expand(-1, c, -1))
            result = result + read * share.flatten(1).unsqueeze(1)
    return result.unflatten(2, (math.prod(kernel), -1)).flatten(1, 2)


torch.fx.wrap("read_taps")  # makes places from sizes: one node of a graph that torch.fx traces
