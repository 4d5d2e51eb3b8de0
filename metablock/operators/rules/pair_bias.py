"""What is known of ``pair_bias`` without torch."""

from __future__ import annotations

from . import Rule, Tensors


class PairBiasRule(Rule):
    """The rule of :class:`metablock.operators.pair_bias.PairBias`."""

    takes = ()

    @staticmethod
    def tensors(*, heads: int, queries: int, keys: int) -> Tensors:
        return Tensors({"weight": (heads, queries, keys)})
