"""What is known of ``pair_bias`` without torch."""

from __future__ import annotations

from . import LeafRule, TensorShapes


class PairBiasRule(LeafRule):
    """The rule of :class:`metablock.operators.pair_bias.PairBias`."""

    takes = ()

    @staticmethod
    def tensors(*, heads: int, queries: int, keys: int) -> TensorShapes:
        return TensorShapes({"weight": (heads, queries, keys)})
