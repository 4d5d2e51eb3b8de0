"""What is known of ``moving_bias`` without torch."""

from __future__ import annotations

from math import prod

from . import Rule, Size, Tensors


class MovingBiasRule(Rule):
    """The rule of :class:`metablock.operators.moving_bias.MovingBias`."""

    takes = ("grid", "tokens")

    @staticmethod
    def tensors(grid: Size, *, heads: int) -> Tensors:
        return Tensors({"weight": (prod(2 * g - 1 for g in grid), heads)})
