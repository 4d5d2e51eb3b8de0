"""Attention by features of queries and keys, which needs no matrix of all pairs; and by logits that are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg
from ..lowering.ir import Value
from .keys import KeySource, union

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..lowering.tracer import Tracer


def linear(
    t: Tracer, queries: Value, parts: list[KeySource], feature: Arg, others: Mapping[str, object], *, heads: int, eps: float
) -> Value:
    """``f(q) (f(k)' v) / (f(q) sum f(k)' + eps)``: the leaf ``attend``, behind ``feature`` of both."""
    _alone(others, "feature", "there is no softmax")
    if t.mask is not None or any(part.near or part.routed for part in parts):
        raise error("`feature=` where keys are left out", feature.span, "it is for all keys: without `shift=`, `near`, `routed`")
    queries, *rest = t.together(queries, *[wire for part in parts for wire in (part.keys, part.values)])
    keys, values = union(t, rest[::2]), union(t, rest[1::2])
    width = [queries.c // heads]

    def made(wire: Value) -> Value:
        result = t.to(t.single(t.apply(feature, wire)), "grid")
        if result.feature.with_(c=wire.c) != wire.feature:
            raise error(f"`feature=` makes {result.feature} of {wire.feature}", feature.span, "it must keep the extents")
        width[0] = result.c
        return result

    pair = t.alike([heads_apart(t, wire, heads) for wire in (queries, keys)], made)
    wide = heads * width[0]
    apart = [t.do("{0}.flatten(-2)", [f], w.feature.with_(c=wide)) for f, w in zip(pair, (queries, keys), strict=True)]
    shape = queries.feature.with_(c=values.c)
    return t.leaf("attend_linear.AttendLinear", "attend", [*apart, values], shape, heads=heads, eps=eps)


def given(
    t: Tracer,
    wire: Value,
    values: Value,
    parts: list[KeySource],
    logits: Arg,
    others: Mapping[str, object],
    *,
    heads: int,
    scale: object,
    drop: float,
) -> Value:
    """``softmax(scale * logits) v``: the leaf ``attend``."""
    _alone(others, "logits", "there are no queries and keys")
    if isinstance(scale, Arg):
        raise error("a module as `scale=` beside `logits=`", scale.span, "give a number, or scale them in `logits=`")
    if t.mask is not None or len(parts) > 1 or parts[0].near or parts[0].routed:
        raise error("`logits=` where keys are left out, or of several sources", logits.span, "they are for all keys of one")
    if values.c % heads:
        raise error(f"{heads} heads do not divide {values.c} channels of the values", hint="choose another number of heads")
    found = t.to(t.single(t.apply(logits, wire)), "grid", "tokens", "vector")
    values, found, wire = t.together(values, found, wire)
    f, n, m = found.feature, wire.feature.n, values.feature.n
    wanted = {(n, heads * m), (1, heads * n * m)}
    if (max(f.n, 1), f.c) not in wanted:
        hint = f"{heads * m} channels of each of {n} queries, or {heads * n * m} of one token"
        raise error(f"`logits=` gives {f}, for {heads} heads and {m} keys", logits.span, hint)
    if f.layout == "vector":
        found = t.do("{0}.unsqueeze(1)", [found], f.with_(layout="tokens", grid=(1,)))
    factor = (values.c // heads) ** -0.5 if scale is None else scale
    shape = wire.feature.with_(layout="tokens", c=values.c)
    out = t.leaf("attend_given.AttendGiven", "attend", [values, found], shape, heads=heads, scale=factor, drop=drop)
    return t.to(out, wire.feature.layout)


def _alone(others: Mapping[str, object], name: str, why: str) -> None:
    for other in (other for other, value in others.items() if value is not None):
        raise error(f"`{other}=` beside `{name}=`: {why}", hint=f"leave out `{other}=`, or `{name}=`")


def heads_apart(t: Tracer, wire: Value, heads: int) -> Value:
    """The heads as one more axis of the grid."""
    f = wire.feature
    grid = (*f.grid, heads) if f.layout == "grid" else (f.n, heads)
    shape = f.with_(layout="grid", c=f.c // heads, grid=grid, prefix=0)
    return t.do(f"{{0}}.unflatten(-1, ({heads}, {f.c // heads}))", [wire], shape)
