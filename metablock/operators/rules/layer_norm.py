"""What is known of ``layer_norm`` without torch."""

from __future__ import annotations

from . import LeafRule, TensorShapes, weight_and_bias


class LayerNormRule(LeafRule):
    """The rule of :class:`metablock.operators.layer_norm.LayerNorm`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def tensors(c: int, *, bias: bool, affine: bool) -> TensorShapes:
        return weight_and_bias((c,), c, bias) if affine else TensorShapes()
