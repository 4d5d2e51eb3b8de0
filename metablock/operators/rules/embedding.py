"""What is known of ``embedding`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, TensorShapes


class EmbeddingRule(LeafRule):
    """The rule of :class:`metablock.operators.embedding.Embedding`."""

    takes = ("ids",)

    @staticmethod
    def shape(x: Feature, *, out: int, padding: str) -> Feature:
        if padding not in ("zeros", "learned"):
            raise error(f'unknown padding "{padding}"', hint='"zeros" or "learned"')
        return x.with_(layout="grid", c=out, padding_id=None)

    @staticmethod
    def tensors(c: int, *, out: int) -> TensorShapes:
        return TensorShapes({"weight": (c, out)})
