"""What is known of ``pick`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule


class PickRule(LeafRule):
    """The rule of :class:`metablock.operators.pick.Pick`."""

    takes = ("tokens",)

    @staticmethod
    def shape(x: Feature, *, tokens: list[int]) -> Feature:
        if not tokens:
            raise error("no token is picked", hint="at least one number")
        wrong = next((i for i in tokens if not -x.n <= i < x.n), None)
        if wrong is not None:
            raise error(f"there is no token {wrong}: {x.n} arrive", hint="tokens are numbered from 0, prefix tokens first")
        return x.with_(grid=(len(tokens),), prefix=0)
