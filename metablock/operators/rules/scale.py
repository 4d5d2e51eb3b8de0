"""What is known of ``scale`` without torch."""

from __future__ import annotations

from . import LeafRule, TensorShapes


class ScaleRule(LeafRule):
    """The rule of :class:`metablock.operators.scale.Scale`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def tensors(c: int) -> TensorShapes:
        return TensorShapes({"weight": (c,)})
