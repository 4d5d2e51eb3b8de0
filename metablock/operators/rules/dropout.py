"""What is known of ``dropout`` without torch."""

from __future__ import annotations

from typing import ClassVar

from ...errors import error
from ...shape import Feature, Layout
from . import LeafRule


class DropoutRule(LeafRule):
    """The rule of :class:`metablock.operators.dropout.Dropout`."""

    takes: ClassVar[tuple[Layout, ...]] = ("map", "grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, *, rate: float) -> Feature:
        checked(rate)
        return x


class ChannelDropoutRule(DropoutRule):
    """The rule of :class:`metablock.operators.dropout.ChannelDropout`."""

    takes = ("map",)


def checked(rate: float) -> float:
    """The rate itself. Raises SpecError if it is not in ``[0, 1)``."""
    if not 0 <= rate < 1:
        raise error(f"a drop rate of {rate}", hint="a rate is at least 0 and below 1")
    return rate
