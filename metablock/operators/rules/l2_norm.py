"""What is known of ``l2_norm`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import LeafRule
from .softmax import check_over


class L2NormRule(LeafRule):
    """The rule of :class:`metablock.operators.l2_norm.L2Norm`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, over: str) -> Feature:
        check_over("l2norm", x, over)
        return x
