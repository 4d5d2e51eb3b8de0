"""What is known of ``learned`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, TensorShapes


class LearnedRule(LeafRule):
    """The rule of :class:`metablock.operators.learned.Learned`."""

    takes = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, n: int, out: int | None) -> Feature:
        if n < 1 or (out is not None and out < 1):
            raise error(f"{n} learned tokens{'' if out is None else f' of {out} channels'}", hint="at least 1")
        return x.with_(layout="tokens", c=x.c if out is None else out, grid=(n,), prefix=0)

    @staticmethod
    def tensors(c: int, *, n: int, out: int | None) -> TensorShapes:
        return TensorShapes({"weight": (1, n, c if out is None else out)})
