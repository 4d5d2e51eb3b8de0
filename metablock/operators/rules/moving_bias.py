"""What is known of ``moving_bias`` without torch."""

from __future__ import annotations

from math import prod

from . import LeafRule, Size, TensorShapes


class MovingBiasRule(LeafRule):
    """The rule of :class:`metablock.operators.moving_bias.MovingBias`."""

    takes = ("grid", "tokens")

    @staticmethod
    def tensors(grid: Size, *, heads: int) -> TensorShapes:
        return TensorShapes({"weight": (prod(2 * g - 1 for g in grid), heads)})
