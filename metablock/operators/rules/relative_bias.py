"""What is known of ``relative_bias`` without torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from . import LeafRule, Size, TensorShapes


class RelativeBiasRule(LeafRule):
    """The rule of :class:`metablock.operators.relative_bias.RelativeBias`."""

    takes = ()

    @staticmethod
    def tensors(
        grid: Size,
        *,
        heads: int,
        prefix: int,
        numbers: int,
        mirror: bool,
        keys: list[int] | None,
        stride: list[int] | None,
    ) -> TensorShapes:
        places = table_places(grid, keys, stride, mirror)
        return TensorShapes({"weight": (prod(places) + numbers * prefix, heads)})


def table_places(queries: Size, keys: Sequence[int] | None, stride: Sequence[int] | None, mirror: bool) -> Size:
    """How many distances between queries and keys the table has along each axis; ``mirror``: the same for both directions.

    >>> table_places((7, 7), None, None, False), table_places((7, 7), None, None, True), table_places((3,), (7,), (3,), False)
    ((13, 13), (7, 7), (13,))
    """
    axes = list(zip(keys or queries, queries, stride or [1] * len(queries), strict=True))
    if all(-(-g // s) == n for g, n, s in axes):
        return tuple(g if mirror else 2 * g - 1 for g, _, _ in axes)
    return tuple(max(s * (n - 1), g - 1) + 1 if mirror else s * (n - 1) + g for g, n, s in axes)
