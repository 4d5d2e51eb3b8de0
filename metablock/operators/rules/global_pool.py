"""What is known of ``global_pool`` without torch."""

from __future__ import annotations

from ...errors import error, suggest
from ...shape import Feature
from . import LeafRule


class GlobalPoolRule(LeafRule):
    """The rule of :class:`metablock.operators.global_pool.GlobalPool`."""

    takes = ("map", "grid", "tokens")

    @staticmethod
    def shape(x: Feature, *, kind: str) -> Feature:
        if kind not in ("avg", "max"):
            raise error(f"unknown kind of pooling '{kind}'", hint=suggest(kind, ["avg", "max"], '"avg" or "max"'))
        if x.prefix:
            raise error(
                f"{x.prefix} prefix token{'s' * (x.prefix > 1)} would be averaged in",
                hint="write `patches >> global_pool`, or `take(0)` for the first of them",
            )
        return x.with_(layout="vector", grid=())
