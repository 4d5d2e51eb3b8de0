"""What is known of ``fold`` without torch."""

from __future__ import annotations

from math import prod

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand
from . import LeafRule
from .unfold import ordered


class FoldRule(LeafRule):
    """The rule of :class:`metablock.operators.fold.Fold`."""

    takes = ("grid", "map")

    @staticmethod
    def shape(x: Feature, *, kernel: Extent, order: str | None) -> Feature:
        ordered(order, x.rank, "fold")
        kernels = expand(kernel, x.rank)
        if min(kernels) < 1:
            raise error("a kernel is at least 1", hint="`1` leaves the extents as they are")
        if x.c % prod(kernels):
            shown = "x".join(map(str, kernels))
            raise error(f"{x.c} channels do not fill windows of {shown}", hint=f"a width that {prod(kernels)} divides")
        grid = tuple(g * k for g, k in zip(x.grid, kernels, strict=True))
        return x.with_(c=x.c // prod(kernels), grid=grid)


class FoldWindowsRule(LeafRule):
    """The rule of :class:`metablock.operators.fold.FoldWindows`."""

    takes = ("grid", "map")
