"""What is known of ``rms_norm`` without torch."""

from __future__ import annotations

from . import LeafRule, TensorShapes


class RmsNormRule(LeafRule):
    """The rule of :class:`metablock.operators.rms_norm.RmsNorm`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def tensors(c: int, *, affine: bool) -> TensorShapes:
        return TensorShapes({"weight": (c,)} if affine else {})
