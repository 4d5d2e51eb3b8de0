"""What is known of ``attend_deformable`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule, TensorShapes


class AttendDeformableRule(LeafRule):
    """The rule of :class:`metablock.operators.attend_deformable.AttendDeformable`."""

    takes = ("grid",)

    @staticmethod
    def shape(x: Feature, *others: Feature, heads: int, levels: int, placed: bool) -> Feature:
        values = others[1 : levels + 1] if placed else others[:levels]
        maps = values if placed else (x, *values)
        if any(f.rank != 2 for f in maps):
            rank = next(f.rank for f in maps if f.rank != 2)
            raise error(f"deformable attention works in 2 dimensions, not in {rank}", hint="`attention` works in 1, 2 and 3")
        if placed and (others[0].c not in (2, 4) or others[0].grid != x.grid):
            raise error(f"the places of {x} are {others[0]}", hint="one (x, y) or (x, y, width, height) for each query")
        if values[0].c % heads:
            raise error(f"{heads} heads do not divide {values[0].c} channels", hint="choose another number of heads, or `ratio=`")
        return x.with_(c=values[0].c)

    @staticmethod
    def tensors(c: int, *, heads: int, points: int, levels: int) -> TensorShapes:
        each = heads * levels * points
        weights = {"weights.weight": (each, c), "weights.bias": (each,)}
        return TensorShapes({"offsets.weight": (2 * each, c), "offsets.bias": (2 * each,)} | weights)
