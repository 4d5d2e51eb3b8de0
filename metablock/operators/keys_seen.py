"""The number of keys that a query sees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rules.keys_seen import KeysSeenRule


class KeysSeen(KeysSeenRule, nn.Module):
    """Number of keys of each query: ``(b, *grid, c) -> (b, *grid, 1)``; the values of the input do not matter.

    Queries at the border have fewer neighbours. Without ``size`` all queries see the same keys: ``(b, ..., c) -> (b, 1, 1)``.

    Args:
        size: extents of the neighbourhood, one number per axis.
        dilation: distance between neighbours.
        side: where the neighbours stand: on ``"both"`` sides of the query, or in the ``"past"`` that ends at it.
        far: number of keys that all queries see.

    TransNeXt (arXiv 2311.17132) multiplies the logits by the logarithm of this number.

    Example:
        >>> KeysSeen((4,), size=[3])(torch.zeros(1, 4, 8)).flatten()
        tensor([2., 3., 3., 2.])
    """

    count: Tensor

    def __init__(
        self, grid: tuple[int, ...], *, size: list[int] | None = None, dilation: int = 1, side: str = "both", far: int = 0
    ):
        super().__init__()
        self.grid, self.size, self.dilation, self.side, self.far = tuple(grid), size, dilation, side, far
        self.register_buffer("count", torch.empty(1, *(grid if size else (1,)), 1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        count = torch.ones(self.count.shape[1:], device=self.count.device)
        if self.size is None:
            count.zero_()
        for axis, s in enumerate(self.size or []):
            extents = [1] * count.dim()
            extents[axis] = self.grid[axis]
            count = count * inside(self.grid[axis], s, self.dilation, self.side, count.device).view(extents)
        self.count.copy_(count + self.far)

    def forward(self, x: Tensor) -> Tensor:
        return self.count.to(x.dtype).expand(x.shape[0], *self.count.shape[1:])


def inside(extent: int, size: int, dilation: int, side: str, device: torch.device | None = None) -> Tensor:
    """Number of neighbours of each position of an axis that lie on the axis.

    >>> inside(4, 3, 1, "past")
    tensor([1, 2, 3, 3])
    """
    ahead = 0 if side == "past" else size // 2
    place = torch.arange(extent, device=device)
    before, after = place.div(dilation, rounding_mode="floor"), (extent - 1 - place).div(dilation, rounding_mode="floor")
    return before.clamp(max=size - 1 - ahead) + after.clamp(max=ahead) + 1
