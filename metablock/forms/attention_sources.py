"""What every algorithm of attention begins with: the sources of its keys, and the projections to queries, keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg
from ..lowering.context import Near, Past, Routed
from ..lowering.ir import Value, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

_MEMBERS = "one a member of `over=`: `pos=[a, none]`"


@dataclass
class KeySource:
    """The source of some of the keys of an attention, and what is projected from it.

    Attributes:
        source: what is projected.
        keys, values: the projections; until then the source itself.
        near: how keys are selected, if each query has its neighbours.
        past: how keys are selected, if each query has itself and those before it.
        routed: how keys are selected, if each region has its regions.
        number: its place in the list of ``over=``.
        extra: weights of the neighbours outside the softmax.
        outside: whether its keys stand outside the queries' window, and are repeated for it.
    """

    source: Value
    keys: Value
    values: Value
    near: Near | None = None
    routed: Routed | None = None
    number: int = 0
    extra: Value | None = None
    past: Past | None = None
    outside: bool = False

    @property
    def count(self) -> int:
        """The number of keys that a query attends to."""
        if self.routed is not None:
            return self.routed.top * prod(self.routed.size)
        return self.near.count if self.near else self.keys.feature.n

    @property
    def selects(self) -> str | None:
        """The operator that selects keys for each query, ``near`` or ``routed``; None if there is a matrix of both."""
        return "near" if self.near is not None else "routed" if self.routed is not None else None

    @property
    def chooses(self) -> str | None:
        """The operator that leaves keys out, ``near``, ``past`` or ``routed``; None if all queries see all keys."""
        return "past" if self.past is not None else self.selects


@dataclass(frozen=True)
class Projections:
    """The arguments of attention that shape its projections; ``kv_heads`` is the number of heads of keys and values."""

    q: Arg | None
    k: Arg | None
    v: Arg | None
    kv: Arg | None
    qkv: Arg | None
    head_dim: int | None
    value_dim: int | None
    kv_heads: int


def key_sources(t: Tracer, over: Arg | None, x: Value) -> list[KeySource]:
    """What ``over=`` returns as sources of keys, not projected yet; those that `near` or `past` select come first.

    Args:
        over: this argument of attention; None: the input itself.
        x: the input.

    Raises:
        SpecError: no keys; ``near``, ``past`` or ``routed`` before another operator, or two; sources of several widths.
    """
    if over is None:
        return [KeySource(x, x, x)]
    selections: dict[int, Near | Past | Routed] = {}
    with t.context.push(selections=selections):
        result = t.apply(over, x)
        listed = result if isinstance(result, (list, tuple)) else [result]
        members = {i: t.ir.cast(single(member), "grid", "tokens") for i, member in enumerate(listed) if member is not None}
    if not members:
        raise error("`over=` gives no keys", over.span, "leave it out for self-attention")
    if not set(selections) <= {member.id for member in members.values()}:
        name = next(type(selection).__name__.lower() for selection in selections.values())
        raise error(f"`{name}` is not the last of its chain", over.span, "`k` and `v` project what it sees")
    if len(selections) > 1:
        raise error("two neighbourhoods in one attention", over.span, "choose one, or split the heads")
    sources = []
    for number, member in members.items():
        selection = selections.get(member.id)
        neighbours = selection if isinstance(selection, Near) else None
        regions = selection if isinstance(selection, Routed) else None
        earlier = selection if isinstance(selection, Past) else None
        sources.append(KeySource(member, member, member, neighbours, regions, number, past=earlier))
    return sorted(sources, key=lambda source: source.near is None and source.past is None)


def project(t: Tracer, arg: Arg | None, x: Value, name: str, out: int) -> Value:
    """Applies a projection: the argument, or by default a linear map to ``out`` channels under this name."""
    if arg is None:
        return t.ir.call("linear", name, [x], out=out)
    return t.ir.cast(single(t.apply(arg, x)), "grid", "tokens")


def project_all(t: Tracer, x: Value, sources: list[KeySource], by: Projections, over: Arg | None, heads: int) -> Value:
    """Projects queries, keys and values; keys and values are noted in their sources.

    Args:
        x: the input.
        sources: the sources of the keys.
        by: the projections.
        over: this argument of attention.
        heads: number of heads.

    Returns:
        The queries.

    Raises:
        SpecError: projections that exclude each other; widths or extents that do not fit.
    """
    if by.qkv is not None or all(arg is None for arg in (over, by.q, by.k, by.v, by.kv)):
        span, chosen = by.qkv.span if by.qkv else None, sources[0].near or sources[0].past
        if any(arg is not None for arg in (by.q, by.k, by.v, by.kv)):
            raise error("`qkv=` stands for all three projections", span, "remove it, or `q`, `k`, `v`, `kv`")
        if over is not None and (len(sources) > 1 or chosen is None or chosen.source != x.id):
            hint = "write `q=` and `kv=`; with `over=near(n)` or `over=past` alone the keys come from what arrives"
            raise error("`qkv=` projects what arrives, `over=` gives keys from elsewhere", span, hint)
        queries = _packed(t, sources[0], by, heads)
    else:
        queries = _queries(t, x, by, heads)
        _separate(t, sources, by, queries.c // heads)
    d = queries.c // heads
    for source in sources:
        _check(queries, source, heads, by.kv_heads, d if by.head_dim is None else by.head_dim)
        source.outside = source.keys.feature.around != queries.feature.around
    return queries


def _packed(t: Tracer, source: KeySource, by: Projections, heads: int) -> Value:
    """Queries, keys and values by one projection; returns the queries."""
    d = by.head_dim if by.head_dim is not None else _per_head(source.source.c, heads)
    inner, keys = heads * d, by.kv_heads * d
    packed = project(t, by.qkv, source.source, "qkv", inner + keys + by.kv_heads * (by.value_dim or d))
    sizes = [inner, keys, _remaining(packed, inner + keys, "qkv", "queries and keys")]
    queries, source.keys, source.values = t.ir.split(packed, sizes)
    return queries


def _queries(t: Tracer, x: Value, by: Projections, heads: int) -> Value:
    """The queries by a projection of their own."""
    d = by.head_dim if by.head_dim is not None else _per_head(x.c, heads) if by.q is None else 0
    queries = project(t, by.q, x, "q", heads * d)
    _per_head(queries.c, heads)
    return queries


def _separate(t: Tracer, sources: list[KeySource], by: Projections, d: int) -> None:
    """Keys and values by projections of their own; ``d`` is the width of a head of the queries."""
    narrow, wide = by.kv_heads * d, by.kv_heads * (by.value_dim or by.head_dim or d)
    if by.k is None and by.v is None:
        both = _projected(t, by.kv, sources, "kv", narrow + wide)
        for source, packed in zip(sources, both, strict=True):
            sizes = [narrow, _remaining(packed, narrow, "kv", "keys")]
            source.keys, source.values = t.ir.split(packed, sizes)
        return
    if by.kv is not None:
        raise error("`kv=` stands for both projections", by.kv.span, "remove it, or `k` and `v`")
    for source, keys in zip(sources, _projected(t, by.k, sources, "k", narrow), strict=True):
        source.keys = keys
    for source, values in zip(sources, _projected(t, by.v, sources, "v", wide), strict=True):
        source.values = values


def _projected(t: Tracer, arg: Arg | None, sources: list[KeySource], name: str, out: int) -> list[Value]:
    """A projection of each source: of all by the same modules, or of each by the member of a list that has its number."""
    if arg is not None and t.arguments.members(arg) is not None:
        own = per_source(t, arg, sources, name)
        if None in own:
            raise error(f"`{name}=` has a member `none`", arg.span, "`id` for no projection")
        return [project(t, member, source.source, name, out) for source, member in zip(sources, own, strict=True)]
    if len({source.source.c for source in sources}) > 1:
        widths = " and ".join(str(source.source.c) for source in sorted(sources, key=lambda source: source.number))
        hint = f"bring them to one width: they are projected alike; or give each its own, `{name}=[a, b]`"
        raise error(f"the members of `over=` are {widths} wide", arg.span if arg else None, hint)
    return t.ir.alike([source.source for source in sources], lambda x: project(t, arg, x, name, out))


def _per_head(width: int, heads: int) -> int:
    """The width of a head. Raises SpecError if the heads do not divide the width."""
    if width % heads:
        raise error(f"{heads} heads do not divide {width} channels", hint="choose another number of heads, or give `head_dim=`")
    return width // heads


def _remaining(packed: Value, used: int, name: str, whose: str) -> int:
    """The channels that a packed projection leaves for the values. Raises SpecError if there are none."""
    if packed.c <= used:
        raise error(f"`{name}=` gives {packed.c} channels, the {whose} take {used}", hint="those that remain are the values'")
    return packed.c - used


def _check(queries: Value, source: KeySource, heads: int, kv_heads: int, d: int) -> None:
    """Raises SpecError if the projections of a source do not fit the queries."""
    keys, values = source.keys, source.values
    if keys.c * heads != queries.c * kv_heads:
        hint = "`q=` and `k=` must end in the same width"
        if kv_heads != heads:
            hint = f"`k=` must end in {queries.c * kv_heads // heads} channels: {kv_heads} heads as wide as those of the queries"
        raise error(f"queries are {queries.c} wide, keys {keys.c}", hint=hint)
    if keys.feature.n != values.feature.n:
        raise error(f"{keys.feature.n} keys meet {values.feature.n} values", hint="`k=` and `v=` must have the same extents")
    if values.c % kv_heads:
        raise error(f"{kv_heads} heads do not divide {values.c} channels of the values", hint="choose another number of heads")
    if d * heads != queries.c:
        raise error(f"{heads} heads of {d} do not make {queries.c} channels", hint="`head_dim=` times heads is the width of `q=`")
    together = all(not v.feature.prefix and v.feature.grid == queries.feature.grid for v in (queries, keys, values))
    if source.selects and not together:
        shapes = f"here {queries.feature} and {keys.feature}"
        hint = "use it without prefix tokens, on what arrives"
        raise error(f"`{source.selects}` needs queries, keys and values on one grid, {shapes}", hint=hint)
    tokens = {(v.feature.grid, v.feature.prefix) for v in (queries, keys, values)}
    if source.past and len(tokens) > 1:
        hint = "queries and keys are the same tokens: use it on what arrives"
        raise error(f"`past` needs queries, keys and values in one order, here {queries.feature} and {keys.feature}", hint=hint)


def heads_apart(t: Tracer, value: Value, heads: int) -> Value:
    """A value with its heads as the last axis of the grid: ``(b, *grid, heads * d) -> (b, *grid, heads, d)``."""
    f = value.feature
    grid = (*f.grid, heads) if f.layout == "grid" else (f.n, heads)
    shape = f.with_(layout="grid", c=f.c // heads, grid=grid, prefix=0)
    return t.ir.inline(f"{{0}}.unflatten(-1, ({heads}, {f.c // heads}))", [value], shape)


def same_shape(t: Tracer, arg: Arg, value: Value, name: str) -> Value:
    """Applies an expression that has to keep the shape of queries or keys. Raises SpecError if it does not."""
    f = value.feature
    result = t.ir.cast(single(t.apply(arg, value)), f.layout)
    if result.feature != f:
        raise error(f"`{name}=` makes {result.feature} of {f}", arg.span, "it must keep the shape")
    return result


def repeat_heads(t: Tracer, sources: list[KeySource], kv_heads: int, times: int) -> None:
    """Repeats each head of keys and values for the ``times`` consecutive heads of the queries that share it."""
    for source in sources:
        source.keys, source.values = (
            t.ir.inline(
                f"{{0}}.unflatten(-1, ({kv_heads}, -1)).repeat_interleave({times}, dim=-2).flatten(-2)",
                [value],
                value.feature.with_(c=times * value.c),
            )
            for value in (t.ir.cast(source.keys, "grid", "tokens"), t.ir.cast(source.values, "grid", "tokens"))
        )


def union(t: Tracer, values: list[Value]) -> Value:
    """The tokens of all values, one after the other. Raises SpecError if their widths differ."""
    if len(values) == 1:
        return values[0]
    if any(value.c != values[0].c for value in values):
        widths = " and ".join(str(value.c) for value in values)
        raise error(f"the members of `over=` have values of {widths} channels", hint="project them to one width")
    tokens = [t.ir.cast(value, "tokens") for value in values]
    total = sum(value.feature.n for value in tokens)
    names = ", ".join(f"{{{i}}}" for i in range(len(tokens)))
    return t.ir.inline(f"torch.cat([{names}], dim=1)", tokens, tokens[0].feature.with_(prefix=0, grid=(total,)))


def per_source(t: Tracer, arg: Arg | None, sources: list[KeySource], name: str) -> list[Arg | None]:
    """An argument for each source: the members of a list, or for a single source the argument itself.

    Raises:
        SpecError: several sources and no list, or a list that is too short.
    """
    if arg is None:
        return [None] * len(sources)
    members = t.arguments.members(arg)
    hint = _MEMBERS.replace("pos", name)
    if members is None and len(sources) == 1:
        return [arg]
    if members is None:
        raise error(f"`{name}=` is one for {len(sources)} members of `over=`", arg.span, hint)
    if len(members) <= max(source.number for source in sources):
        raise error(f"`{name}=` has {len(members)} entries, `over=` more", arg.span, hint)
    return [members[source.number] for source in sources]
