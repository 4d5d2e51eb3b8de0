"""What is known of ``softmax`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule


class SoftmaxRule(LeafRule):
    """The rule of :class:`metablock.operators.softmax.Softmax`."""

    takes = ("vector", "tokens", "grid", "map")

    @staticmethod
    def shape(x: Feature, *, temperature: float, start: float | None, parts: int | None, over: str) -> Feature:
        if temperature <= 0 or (start is not None and start <= 0):
            raise error("a temperature is above 0", hint="1 is the plain softmax")
        if parts is not None and (parts < 1 or x.c % parts):
            raise error(f"{parts} equal parts of {x.c} channels", hint="choose a number that divides the width")
        check_over("softmax", x, over)
        if parts is not None and over == "tokens":
            raise error("`parts=` of a softmax over the tokens: parts are of the channels", hint="leave out one of them")
        return x


def check_over(name: str, x: Feature, over: str) -> None:
    """Raises SpecError if ``over`` is neither ``"channels"`` nor ``"tokens"``, or a vector has no tokens."""
    if over not in ("channels", "tokens"):
        raise error(f'`over=` of {name} is "{over}"', hint='"channels" or "tokens"')
    if over == "tokens" and x.layout == "vector":
        raise error(f"a vector has no tokens for `{name}`", hint='take it before the pool, or leave out `over="tokens"`')
