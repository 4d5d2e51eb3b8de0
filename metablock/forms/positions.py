"""Position biases: what is added to attention's logits, and knows both grids."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..graph import Value

if TYPE_CHECKING:
    from ..levels import Pair
    from ..trace import Tracer


def relative_bias(t: Tracer, x: Value, *, std: float = 0.02) -> Value:
    """One learned number a head and relative offset (Swin, arXiv 2103.14030). Queries and keys stand on the same grid.

    For ``over=near(n)`` a table of the neighbours.
    """
    pair = _pair(t, "relative_bias")
    q, k = pair.queries.feature, pair.keys.feature
    if pair.near is not None:
        shape = q.with_(layout="table", c=pair.heads, grid=(q.n, prod(pair.near.size)))
        given = {"size": list(pair.near.size), "clamp": pair.near.border == "clamp"}
        return t.leaf("near_bias.NearBias", "table", [], shape, grid=q.grid, heads=pair.heads, std=std, **given)
    if q.grid != k.grid or q.prefix or k.prefix:
        hint = "use it in self-attention without prefix tokens"
        raise error(f"`relative_bias` needs queries and keys on one grid, here {q} and {k}", hint=hint)
    shape = q.with_(layout="table", c=pair.heads, grid=(q.n, k.n))
    return t.leaf("relative_bias.RelativeBias", "table", [], shape, grid=q.grid, heads=pair.heads, std=std)


def agent_bias(t: Tracer, x: Value, *, table: int = 7, side: str = "keys", std: float = 0.02) -> Value:
    """Agent attention's bias (arXiv 2312.08874): a small table, interpolated, and one table an axis.

    ``side="keys"``: the agents are the queries, the grid is the keys'; ``side="queries"``: the reverse.
    """
    pair = _pair(t, "agent_bias")
    if side not in ("keys", "queries"):
        raise error(f"unknown side \"{side}\"", hint='"keys" or "queries"')
    agents, tokens = (pair.queries, pair.keys) if side == "keys" else (pair.keys, pair.queries)
    f = tokens.feature
    shape = f.with_(layout="table", c=pair.heads, grid=(pair.queries.feature.n, pair.keys.feature.n), prefix=0)
    given = {"heads": pair.heads, "agents": agents.feature.n, "table": table, "side": side, "std": std}
    return t.leaf("agent_bias.AgentBias", "table", [], shape, grid=f.grid, prefix=f.prefix, **given)


def _pair(t: Tracer, name: str) -> Pair:
    if t.pair is None:
        raise error(f"`{name}` is not inside an attention", hint=f"write `attention(heads, pos={name})`")
    return t.pair
