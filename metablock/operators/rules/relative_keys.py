"""What is known of ``relative_keys`` without torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from . import LeafRule, Size, TensorShapes


class RelativeKeysRule(LeafRule):
    """The rule of :class:`metablock.operators.relative_keys.RelativeKeys`."""

    takes = ("grid", "tokens")

    @staticmethod
    def tensors(c: int, grid: Size, *, heads: int, keys: list[int], joint: bool) -> TensorShapes:
        counts = offset_counts(grid, keys)
        if joint:
            return TensorShapes({"weight": (prod(counts), c // heads)})
        return TensorShapes({f"axes.{axis}": (count, c // heads) for axis, count in enumerate(counts)})


class OffsetsRule(LeafRule):
    """The rule of :class:`metablock.operators.relative_keys.Offsets`."""

    takes = ()


class AtOffsetsRule(LeafRule):
    """The rule of :class:`metablock.operators.relative_keys.AtOffsets`."""

    takes = ("grid", "tokens")


class OwnOffsetsRule(LeafRule):
    """The rule of :class:`metablock.operators.relative_keys.OwnOffsets`."""

    takes = ("grid",)


class AtOwnOffsetsRule(LeafRule):
    """The rule of :class:`metablock.operators.relative_keys.AtOwnOffsets`."""

    takes = ("grid",)


def offset_counts(grid: Sequence[int], keys: Sequence[int]) -> list[int]:
    """The number of different offsets on each axis.

    >>> offset_counts((14, 14), (7, 14))
    [27, 27]
    """
    return [2 * max(n, m) - 1 for n, m in zip(grid, keys, strict=True)]
