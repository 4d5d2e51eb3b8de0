"""What is known of ``frozen_batch_norm`` without torch."""

from __future__ import annotations

from . import LeafRule, TensorShapes


class FrozenBatchNormRule(LeafRule):
    """The rule of :class:`metablock.operators.frozen_batch_norm.FrozenBatchNorm`."""

    takes = ("map", "vector")

    @staticmethod
    def tensors(*, affine: bool) -> TensorShapes:
        return TensorShapes(buffers=(*(("weight", "bias") if affine else ()), "running_mean", "running_var"))
