"""What is known of ``batch_norm`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, TensorShapes


class BatchNormRule(LeafRule):
    """The rule of :class:`metablock.operators.batch_norm.BatchNorm`."""

    takes = ("map", "vector")
    constant = "frozen_batch_norm.FrozenBatchNorm"

    @staticmethod
    def shape(x: Feature, *, gamma: float, affine: bool) -> Feature:
        if not affine and gamma != 1:
            raise error(f"a weight of {gamma:g} without a weight", hint="leave out `gamma=`, or `affine=false`")
        return x

    @staticmethod
    def tensors(c: int, *, affine: bool) -> TensorShapes:
        sizes = {"weight": (c,), "bias": (c,)} if affine else {}
        return TensorShapes(sizes, ("running_mean", "running_var", "num_batches_tracked"))
