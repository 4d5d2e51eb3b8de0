"""Position biases: tables that attention adds to its logits. They know the grids of queries and keys."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..language.budget import spend
from ..lowering.arguments import Module
from ..lowering.ir import ValueTree, single
from ..operators.extents import half_steps
from ..shape import Feature

if TYPE_CHECKING:
    from ..lowering.context import Pair
    from ..lowering.tracer import Tracer


def relative_bias(
    t: Tracer,
    x: ValueTree,
    *,
    std: float = 0.02,
    mirror: bool = False,
    stride: int | list[int] | None = None,
    numbers: int = 3,
) -> ValueTree:
    """In ``pos=`` of attention: a learned bias for each head and relative offset of query and key.

    Queries and keys stand on one grid, or the queries on every ``stride``-th place of that of the keys. A class token has three
    biases more a head: from it, to it, and with itself (BEiT, arXiv 2106.08254). With ``over=near(n)`` the table has an entry
    for each neighbour. With ``stride=`` the grids may be any two: query ``i`` and key ``j`` have the offset ``stride * i - j``,
    and the table has those that occur (Focal Transformer's pooled keys, arXiv 2107.00641: ``stride=1``).

    Args:
        std: standard deviation of the initial values (truncated normal).
        mirror: opposite offsets share their bias: one for each head and distance (LeViT, Graham et al. 2021, Eq. 1, arXiv
            2104.01136).
        stride: places of the keys' grid from a query to the next, one number or one an axis; by default the smallest that gives
            the queries' grid. Offsets are counted on the keys' grid (LeViT's attention that subsamples).
        numbers: biases of a class token: 3; or 2, the first of which also stands for the one with itself (MSG-Transformer,
            arXiv 2105.15168).

    Returns:
        A table: ``(heads, queries, keys)``.

    Raises:
        SpecError: outside ``pos=`` of attention; queries that do not lie on the keys' grid, without ``stride``; more than one
            prefix token; ``mirror`` or ``stride`` with ``near``; another number of ``numbers``, or 2 without a class token.

    Swin, Liu et al. 2021, Eq. 4 (arXiv 2103.14030).

    >>> shape_of("attention(4, pos=relative_bias)", "64x7x7")
    'tokens 7x7 x 64'
    >>> shape_of("attention(4, q=max_pool(1, stride=2) >> linear(c), pos=relative_bias)", "64x7x7")
    'tokens 4x4 x 64'
    """
    pair = pair_around(t, "relative_bias")
    q, k = pair.queries.feature, pair.keys.feature
    if numbers not in (2, 3):
        raise error(f"{numbers} bias(es) of a class token", hint="3: from it, to it, with itself; 2: the first two")
    if numbers == 2 and not (q.prefix and k.prefix):
        raise error("`numbers=` are biases of a class token, and there is none", hint="leave it out")
    if pair.near is not None:
        if mirror:
            raise error("the table of neighbours has no mirrored form", hint="leave out `mirror=`")
        if stride is not None:
            raise error("the table of neighbours has no stride", hint="leave out `stride=`")
        shape = q.with_(layout="table", c=pair.heads, grid=(q.n, prod(pair.near.size)))
        sizes = {"size": list(pair.near.size), "clamp": pair.near.border == "clamp"}
        return t.ir.call("near_bias.NearBias", "table", [], shape, grid=q.grid, heads=pair.heads, std=std, **sizes)
    strides = _strides(q, k, stride, pair.outside)
    if strides is None or q.prefix != k.prefix or q.prefix > 1:
        hint = "use it in self-attention, with one prefix token at most; queries may be subsampled: `q=max_pool(1, stride=2)`"
        raise error(f"`relative_bias` needs queries and keys on one grid, here {q} and {k}", hint=hint)
    shape = q.with_(layout="table", c=pair.heads, grid=(q.n, k.n), prefix=0)
    arguments: dict[str, object] = {"heads": pair.heads, "std": std, "prefix": q.prefix, "mirror": mirror}
    if numbers != 3:
        arguments["numbers"] = numbers
    if q.grid != k.grid:
        arguments |= {"keys": list(k.grid), "stride": list(strides)}
    return t.ir.call("relative_bias.RelativeBias", "table", [], shape, grid=q.grid, **arguments)


def _strides(q: Feature, k: Feature, stride: int | list[int] | None, outside: bool) -> tuple[int, ...] | None:
    """The places of the keys' grid from a query to the next on each axis; None if queries and keys do not fit each other.

    They fit if a stride gives the queries' grid, and with one that is written if their grids differ. Raises SpecError for numbers
    that are no strides.
    """
    if stride is not None and ((isinstance(stride, list) and len(stride) != k.rank) or min(expanded(stride)) < 1):
        raise error(f"a stride of {stride} on {k.rank} axes", hint="one number from 1, or one an axis")
    if q.rank != k.rank or (outside and q.grid != k.grid):  # in a window the keys of the whole map have no place
        return None
    if stride is None and q.around and q.grid != k.grid:
        return None
    steps = [-(-m // n) for n, m in zip(q.grid, k.grid, strict=True)] if stride is None else expanded(stride, k.rank)
    fits = all(-(-m // s) == n for n, m, s in zip(q.grid, k.grid, steps, strict=True))
    return tuple(steps) if fits or (stride is not None and q.grid != k.grid) else None


def expanded(value: int | list[int], rank: int = 1) -> list[int]:
    """One number for each axis."""
    return [value] * rank if isinstance(value, int) else value


def pair_bias(t: Tracer, x: ValueTree, *, std: float = 0.02) -> ValueTree:
    """In ``pos=`` of attention: a learned bias for each head, query and key, for keys of any kind.

    It fits one size of the input.

    Args:
        std: standard deviation of the initial values (truncated normal).

    Returns:
        A table: ``(heads, queries, keys)``.

    Raises:
        SpecError: outside ``pos=`` of attention; with ``near``.

    CMT, Guo et al. 2022 (arXiv 2107.06263).

    >>> shape_of("attention(4, over=avg_pool(2, stride=2), pos=pair_bias)", "64x14x14")
    'tokens 14x14 x 64'
    """
    pair = pair_around(t, "pair_bias")
    if pair.near is not None:
        raise error("`pair_bias` is not for neighbours", hint="`relative_bias` has a number for each of them")
    q, k = pair.queries.feature, pair.keys.feature
    shape = q.with_(layout="table", c=pair.heads, grid=(q.n, k.n), prefix=0)
    grids = {"query_grid": list(q.grid), "key_grid": list(k.grid)}
    return t.ir.call("pair_bias.PairBias", "table", [], shape, heads=pair.heads, queries=q.n, keys=k.n, std=std, **grids)


def continuous_bias(
    t: Tracer, x: ValueTree, *, by: Module, extent: int | list[int] | None = None, normalise: bool = True
) -> ValueTree:
    """In ``pos=`` of attention: a bias that a module computes from the distance of query and key.

    An axis of a distance ``d`` enters as ``sign(d) log2(1 + 8 |d| / (extent - 1)) / log2(8)``. A key of a coarser grid stands in
    the middle of the queries that it was pooled from.

    Args:
        by: the module, ``linear(512) >> relu >> linear(heads)``. It gets each distance once, as a token with a channel an axis,
            and returns a channel a head.
        extent: extents of the queries' grid that ``by`` was trained on, by default those of this one. With it a larger image has
            the same bias at the same distance.
        normalise: false: a distance enters as ``sign(d) ln(1 + |d|)``, as Equation 4 has it, whatever the extents.

    Returns:
        A table: ``(heads, queries, keys)``.

    Raises:
        SpecError: outside ``pos=`` of attention; with ``near``; prefix tokens, or keys without a grid; another shape from ``by``;
            an extent that nothing is normalised by.

    Swin V2, Liu et al. 2022, Eq. 4 (arXiv 2111.09883), with the normalisation of its code; TransNeXt (arXiv 2311.17132).

    >>> shape_of("attention(4, pos=continuous_bias(linear(512) >> relu >> linear(4)))", "64x14x14")
    'tokens 14x14 x 64'
    """
    pair = pair_around(t, "continuous_bias")
    q, k = pair.queries.feature, pair.keys.feature
    if pair.near is not None:
        raise error("`continuous_bias` is not for neighbours", hint="`relative_bias` has a number for each of them")
    if q.rank != k.rank or q.prefix or k.prefix:
        hint = "use it without prefix tokens, on keys that have a grid"
        raise error(f"`continuous_bias` needs queries and keys on grids, here {q} and {k}", hint=hint)
    if extent is not None and not normalise:
        raise error("an extent normalises distances", hint="leave out `extent=`, or `normalise=`")
    extents = q.grid if extent is None else (extent,) * q.rank if isinstance(extent, int) else tuple(extent)
    if len(extents) != q.rank or min(extents) < 1:
        raise error(f"an extent of {extent} on {q.rank} axes", hint="one number from 1, or one an axis")
    spend(sum(n * m for n, m in zip(q.grid, k.grid, strict=True)) // 8)
    total = prod(len(set(half_steps(n, m))) for n, m in zip(q.grid, k.grid, strict=True))
    arguments = {"grid": q.grid, "keys": list(k.grid)}
    places = q.with_(layout="tokens", c=q.rank, grid=(total,), around=())
    norm = {"extent": list(extents)} if normalise else {"normalise": False}
    distances = t.ir.call("distances.Distances", "distances", [], places, **arguments, **norm)
    with t.context.push(role="table"):
        biases = single(t.apply(by, distances))
    wanted = places.with_(c=pair.heads)
    if biases.feature.layout not in ("grid", "tokens") or biases.feature.with_(layout="tokens") != wanted:
        raise error(f"`by=` gives {biases.feature}, the biases are {wanted}", by.span, "end it with `linear(heads)`")
    shape = q.with_(layout="table", c=pair.heads, grid=(q.n, k.n))
    return t.ir.call("distances.AtDistances", "table", [biases], shape, **arguments)


def agent_bias(t: Tracer, x: ValueTree, *, table: int = 7, side: str = "keys", std: float = 0.02) -> ValueTree:
    """In ``pos=`` of attention: the bias between agents and tokens, an interpolated small table plus a table for each axis.

    Args:
        table: extent of the small table along each axis.
        side: which side has the grid: ``"keys"``: the queries are the agents; ``"queries"``: the keys are.
        std: standard deviation of the initial values (truncated normal).

    Returns:
        A table: ``(heads, queries, keys)``.

    Raises:
        SpecError: outside ``pos=`` of attention; another word for ``side``.

    Agent attention, Han et al. 2024 (arXiv 2312.08874).

    >>> shape_of("attention(4, q=adaptive_avg_pool(7), pos=agent_bias)", "64x14x14")
    'tokens 7x7 x 64'
    """
    pair = pair_around(t, "agent_bias")
    if side not in ("keys", "queries"):
        raise error(f'unknown side "{side}"', hint='"keys" or "queries"')
    agents, tokens = (pair.queries, pair.keys) if side == "keys" else (pair.keys, pair.queries)
    f = tokens.feature
    shape = f.with_(layout="table", c=pair.heads, grid=(pair.queries.feature.n, pair.keys.feature.n), prefix=0)
    arguments = {"heads": pair.heads, "agents": agents.feature.n, "table": table, "side": side, "std": std}
    return t.ir.call("agent_bias.AgentBias", "table", [], shape, grid=f.grid, prefix=f.prefix, **arguments)


def pair_around(t: Tracer, name: str) -> Pair:
    """The attention around. Raises SpecError if there is none."""
    if t.now.pair is None:
        raise error(f"`{name}` is not inside an attention", hint=f"write `attention(heads, pos={name})`")
    return t.now.pair
