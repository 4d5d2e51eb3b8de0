"""What is known of ``pad`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand
from . import LeafRule

_MODES = ("constant", "reflect", "replicate", "circular")


class PadRule(LeafRule):
    """The rule of :class:`metablock.operators.pad.Pad`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, start: Extent, end: Extent | None, mode: str, value: float) -> Feature:
        before = expand(start, x.rank)
        behind = before if end is None else expand(end, x.rank)
        if mode not in _MODES:
            raise error(f'unknown mode "{mode}"', hint=", ".join(f'"{word}"' for word in _MODES))
        if value and mode != "constant":
            raise error(f'a value of {value:g} with mode "{mode}"', hint='leave one of them out: the value is that of "constant"')
        if min(*before, *behind) < 0:
            raise error("padding is at least 0", hint="`0` adds nothing")
        most = {"reflect": -1, "circular": 0}.get(mode)
        for g, b, e in zip(x.grid, before, behind, strict=True):
            if most is not None and max(b, e) > g + most:
                raise error(f'a padding of {max(b, e)} with mode "{mode}", for an extent of {g}', hint=f"at most {g + most}")
        return x.with_(grid=tuple(g + b + e for g, b, e in zip(x.grid, before, behind, strict=True)))
