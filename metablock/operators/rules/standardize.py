"""What is known of ``standardize`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule


class StandardizeRule(LeafRule):
    """The rule of :class:`metablock.operators.standardize.Standardize`."""

    takes = ("vector", "tokens", "grid", "map")

    @staticmethod
    def shape(x: Feature, *, unbiased: bool, parts: int) -> Feature:
        if parts < 1 or x.c % parts:
            raise error(f"{parts} equal parts of {x.c} channels", hint="choose a number that divides the width")
        if unbiased and x.c == parts:
            raise error("one channel has no unbiased variance", hint="leave out `unbiased=`, or give each part two channels")
        return x
