"""Which part of a map is no padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lowering.ir import Value

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def valid_share(t: Tracer, mask: Value, reverse: bool = False) -> Value:
    """The part of each extent of a map that its mask is 1 on, counted on the first line along the axis: a vector, one an axis.

    Args:
        mask: one channel, channels last.
        reverse: whether the last axis comes first.
    """
    rank = mask.feature.rank
    lines = [f"{{0}}[:, {', '.join([*['0'] * axis, ':', *['0'] * (rank - axis)])}].mean(1)" for axis in range(rank)]
    template = f"torch.stack([{', '.join(lines[::-1] if reverse else lines)}], 1)"
    return t.ir.inline(template, [mask], mask.feature.with_(layout="vector", c=rank, grid=()))
