"""What is known of ``grn`` without torch."""

from __future__ import annotations

from . import LeafRule, TensorShapes, weight_and_bias


class GRNRule(LeafRule):
    """The rule of :class:`metablock.operators.grn.GRN`."""

    takes = ("grid",)

    @staticmethod
    def tensors(c: int, *, bias: bool) -> TensorShapes:
        return weight_and_bias((c,), c, bias)
