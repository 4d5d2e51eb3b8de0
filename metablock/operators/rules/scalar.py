"""What is known of ``scalar`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, TensorShapes


class LearnedScalarRule(LeafRule):
    """The rule of :class:`metablock.operators.scalar.LearnedScalar`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, n: int) -> Feature:
        if n < 1:
            raise error(f"{n} learned numbers", hint="at least 1")
        return x.with_(layout="vector", c=n, grid=(), prefix=0, of=None)

    @staticmethod
    def tensors(*, n: int) -> TensorShapes:
        return TensorShapes({"weight": (n,)})
