"""What is known of ``rms_norm`` without torch."""

from __future__ import annotations

from . import Rule, Tensors


class RmsNormRule(Rule):
    """The rule of :class:`metablock.operators.rms_norm.RmsNorm`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def tensors(c: int, *, affine: bool) -> Tensors:
        return Tensors({"weight": (c,)} if affine else {})
