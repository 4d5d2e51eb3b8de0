"""What is known of ``unused`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, TensorShapes


class UnusedRule(LeafRule):
    """The rule of :class:`metablock.operators.unused.Unused`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, n: int, out: int | None) -> Feature:
        if n < 1 or (out is not None and out < 1):
            raise error(f"an unused parameter of {n if out is None else f'{n}x{out}'} numbers", hint="at least 1")
        return x

    @staticmethod
    def tensors(*, n: int, out: int | None) -> TensorShapes:
        return TensorShapes({"weight": (n,) if out is None else (n, out)})
