"""What is known of ``sine_of`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule
from .waves import ORDERS, SineRule, check_word


class SineOfValidRule(LeafRule):
    """The rule of :class:`metablock.operators.sine_of.SineOfValid`."""

    takes = ("grid",)

    @staticmethod
    def shape(x: Feature, valid: Feature, *, out: int, order: str) -> Feature:
        if (valid.grid, valid.c) != (x.grid, 1):
            hint = 'a channel on the same grid: `valid=image.valid >> resize_like(x, mode="nearest")`'
            raise error(f"the mask of {x} is {valid}", hint=hint)
        return SineRule.shape(x, out=out, order=order)


class SineOfRule(LeafRule):
    """The rule of :class:`metablock.operators.sine_of.SineOf`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, out: int, order: str) -> Feature:
        check_word("order", order, ORDERS)
        if out < 1 or out % (2 * x.c):
            raise error(f"`sine` of {out} channels for {x.c} numbers", hint=f"a multiple of {2 * x.c}: a sine and a cosine each")
        return x.with_(c=out)
