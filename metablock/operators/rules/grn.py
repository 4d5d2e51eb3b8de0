"""What is known of ``grn`` without torch."""

from __future__ import annotations

from . import Rule, Tensors, weight_and_bias


class GRNRule(Rule):
    """The rule of :class:`metablock.operators.grn.GRN`."""

    takes = ("grid",)

    @staticmethod
    def tensors(c: int, *, bias: bool) -> Tensors:
        return weight_and_bias((c,), c, bias)
