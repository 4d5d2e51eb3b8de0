"""What is known of ``scale`` without torch."""

from __future__ import annotations

from . import Rule, Tensors


class ScaleRule(Rule):
    """The rule of :class:`metablock.operators.scale.Scale`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def tensors(c: int) -> Tensors:
        return Tensors({"weight": (c,)})
