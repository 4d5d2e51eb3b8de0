"""What is known of ``frozen_batch_norm`` without torch."""

from __future__ import annotations

from . import Rule, Tensors


class FrozenBatchNormRule(Rule):
    """The rule of :class:`metablock.operators.frozen_batch_norm.FrozenBatchNorm`."""

    takes = ("map", "vector")

    @staticmethod
    def tensors(*, affine: bool) -> Tensors:
        return Tensors(buffers=(*(("weight", "bias") if affine else ()), "running_mean", "running_var"))
