"""What is known of ``sample`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from ..extents import KINDS
from . import LeafRule
from .waves import check_word

PADDINGS = ("zeros", "border")


class SampleRule(LeafRule):
    """The rule of :class:`metablock.operators.sample.Sample`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, at: Feature, *, kind: str, padding: str) -> Feature:
        check_word("kind", kind, KINDS)
        check_word("padding", padding, PADDINGS)
        check_places(at, x)
        groups = at.c // x.rank
        if x.c % groups:
            hint = f"{x.rank} channels are one place for all channels"
            raise error(f"{at.c} channels are {groups} places, which do not divide {x.c} channels", hint=hint)
        return at.with_(c=x.c)


def check_places(at: Feature, x: Feature) -> None:
    """Raises SpecError unless the channels of ``at`` are coordinates on the grid of ``x``."""
    if x.rank > 3:
        raise error(f"places on {x.rank} axes", hint="a map has at most 3")
    if at.c % x.rank:
        hint = f"{x.rank} channels a place, a coordinate an axis: end it in `pw({x.rank})`"
        raise error(f"{at.c} channels are no places on {x.rank} axes", hint=hint)
