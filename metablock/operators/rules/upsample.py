"""What is known of ``upsample`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule
from .resize import check


class UpsampleRule(LeafRule):
    """The rule of :class:`metablock.operators.upsample.Upsample`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, factor: int, mode: str) -> Feature:
        check(mode, x.rank)
        if factor < 1:
            raise error(f"a factor of {factor}", hint="a factor is at least 1; `avg_pool` and `resize` make a map smaller")
        return x.with_(grid=tuple(factor * g for g in x.grid))
