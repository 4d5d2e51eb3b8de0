"""What is known of ``nmf`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule


class NMFRule(LeafRule):
    """The rule of :class:`metablock.operators.nmf.NMF`."""

    takes = ("grid", "tokens")

    @staticmethod
    def shape(x: Feature, *, bases: int, steps: int, eval_steps: int) -> Feature:
        if bases < 1:
            raise error(f"{bases} bases", hint="at least 1")
        if min(steps, eval_steps) < 0:
            raise error(f"{min(steps, eval_steps)} steps", hint="at least 0")
        return x
