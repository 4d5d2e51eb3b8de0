"""What is known of ``random_features`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, TensorShapes


class RandomFeaturesRule(LeafRule):
    """The rule of :class:`metablock.operators.random_features.RandomFeatures`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, n: int) -> Feature:
        if n < 1:
            raise error(f"{n} random features", hint="at least 1")
        return x.with_(c=n)

    @staticmethod
    def tensors(c: int, *, n: int) -> TensorShapes:
        return TensorShapes({"weight": (n, c)})
