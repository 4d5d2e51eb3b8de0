"""What is known of ``near_bias`` without torch."""

from __future__ import annotations

from math import prod

from . import LeafRule, TensorShapes


class NearBiasRule(LeafRule):
    """The rule of :class:`metablock.operators.near_bias.NearBias`."""

    takes = ()

    @staticmethod
    def tensors(*, heads: int, size: list[int], clamp: bool) -> TensorShapes:
        return TensorShapes({"weight": (prod(2 * s - 1 if clamp else s for s in size), heads)})
