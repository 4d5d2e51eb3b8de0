"""What is known of ``agent_bias`` without torch."""

from __future__ import annotations

from ...errors import error
from . import LeafRule, Size, TensorShapes


class AgentBiasRule(LeafRule):
    """The rule of :class:`metablock.operators.agent_bias.AgentBias`."""

    takes = ()

    @staticmethod
    def tensors(grid: Size, prefix: int, *, heads: int, agents: int, table: int, side: str) -> TensorShapes:
        check_side(side)
        sizes: dict[str, Size] = {"weight": (heads, agents, *(table,) * len(grid))}
        if prefix:
            sizes["prefix"] = (1, heads, *((agents, prefix) if side == "keys" else (prefix, agents)))
        for axis, extent in enumerate(grid):
            line = tuple(extent if other == axis else 1 for other in range(len(grid)))
            sizes[f"axes.{axis}"] = (1, heads, *((agents, *line) if side == "keys" else (*line, agents)))
        return TensorShapes(sizes)


def check_side(side: str) -> None:
    """Raises SpecError for a side of attention that is none."""
    if side not in ("keys", "queries"):
        raise error(f"unknown side '{side}'", hint='"keys" or "queries"')
