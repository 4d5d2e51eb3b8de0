"""Attention: one form whose projections, keys, position bias and value branch are expressions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg, Expr, Module
from ..lowering.emitter import Near, Routed, Seen
from ..lowering.ir import Value, ValueTree
from .kernel import given, heads_apart, linear
from .keys import KeySource, attend, weigh

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def attention(
    t: Tracer,
    x: ValueTree,
    *,
    heads: int,
    q: Module | None = None,
    k: Module | None = None,
    v: Module | None = None,
    kv: Module | None = None,
    qkv: Module | None = None,
    over: Expr | None = None,
    head_dim: int | None = None,
    value_dim: int | None = None,
    scale: Expr | float | None = None,
    pos: Expr | None = None,
    value: Expr | None = None,
    proj: Module | None = None,
    drop: float = 0.0,
    qk_norm: Expr | None = None,
    query: Expr | None = None,
    mask: Expr | None = None,
    extra: Expr | None = None,
    row: int | None = None,
    feature: Expr | None = None,
    eps: float = 1e-6,
    logits: Expr | None = None,
) -> ValueTree:
    """Multi-head attention: ``proj(softmax(scale * q k' + pos) v + value(v))``, heads being consecutive groups of channels.

    Args:
        heads: number of heads.
        q, k, v, kv, qkv: projections; by default one biased linear map for all three, or one for q and one for keys and values
            where they come from elsewhere. ``id`` means none.
        over: where keys and values come from, applied to what arrives (a reduction, a pool, a wire of another stream). A list:
            the same projections of each member, and one softmax over the union. ``near(n)``: the neighbours of each query;
            ``routed(n)``: the regions that suit each region.
        head_dim, value_dim: channels a head of q and k, and of v; by default the width divided by the heads.
        scale: factor on the logits, by default ``head_dim ** -0.5``. A module sees the queries and gives one channel, or one a
            head.
        pos: added to the logits.
        value: sees the values on their grid; added before ``proj``.
        proj: the last projection, by default a biased linear map to the width that arrived.
        drop: dropout on the attention weights.
        qk_norm: applied to q and to k, each head for itself, with weights of their own (``q_norm``, ``k_norm``).
        query: applied to q after that: ``id + learned(1)``.
        mask: of one channel, a token a key: 1 keeps a key, 0 excludes it. It sees what the keys are made of.
        extra: weights of neighbours that are added behind the softmax. It sees the queries, normed but without ``query=`` and
            ``scale=``, and gives a channel for each head and neighbour, head by head: ``conv(9 * heads, groups=heads)``.
        row: the number of a query, 0 for the class token: ``y, a = attention(heads, row=0)`` also gives its weights behind the
            softmax, the mean of the heads: one channel, a token a key.
        feature: instead of the softmax: applied to each head of q and of k, with one set of weights, it gives what is not
            negative. Linear attention (Katharopoulos et al. 2020, arXiv 2006.16236): ``f(q) (f(k)' v) / (f(q) sum f(k)' + eps)``,
            whose cost grows with the number of tokens, not with its square.
        eps: added to its denominator.
        logits: instead of q and k: gives the logits, head by head and key by key, as ``heads * keys`` channels of each query; or
            ``heads * queries * keys`` channels of one token, such as the vector of a window (VOLO, arXiv 2106.13112).

    ``pos``, ``mask`` and ``extra`` of a list are lists too, one entry a member; ``none`` adds nothing, keeps all.
    """
    wire = t.to(t.single(x), "grid", "tokens")
    for name, number in (("heads", heads), ("head_dim", head_dim), ("value_dim", value_dim)):
        if number is not None and number < 1:
            raise error(f"`{name}=` of attention is {number}", hint="at least 1")
    parts = _sources(t, over, wire)
    if logits is not None:
        others: dict[str, object] = {"q": q, "k": k, "kv": kv, "qkv": qkv, "head_dim": head_dim, "pos": pos, "mask": mask}
        others |= {"qk_norm": qk_norm, "query": query, "extra": extra, "row": row, "feature": feature, "value": value}
        values = _project(t, v, parts[0].source, "v", heads * value_dim if value_dim else parts[0].source.c)
        out = given(t, wire, values, parts, logits, others, heads=heads, scale=scale, drop=drop)
        return t.leaf("linear", "proj", [out], out=wire.c) if proj is None else t.apply(proj, out)
    if qkv is not None or (over is None and q is None and k is None and v is None and kv is None):
        if any(part is not None for part in (q, k, v, kv, over)):
            hint = "remove it, or `q`, `k`, `v`, `kv`, `over`"
            raise error("`qkv=` stands for all three projections", qkv.span if qkv else None, hint)
        queries = _packed(t, parts[0], qkv, heads, head_dim, value_dim)
    else:
        queries = _queries(t, wire, q, heads, head_dim)
        _separate(t, parts, queries, (k, v, kv), heads * (value_dim or head_dim or queries.c // heads))
    d = queries.c // heads
    for part in parts:
        _check(queries, part, heads, d if head_dim is None else head_dim)
    if qk_norm is not None:
        queries = _normed(t, replace(qk_norm, label="q_norm"), queries, heads)
        own = replace(qk_norm, label="k_norm")
        for part, keys in zip(parts, t.alike([p.keys for p in parts], lambda x: _normed(t, own, x, heads)), strict=True):
            part.keys = keys
    if extra is not None:
        weigh(t, extra, parts, queries, heads)
    if query is not None:
        queries = _kept(t, query, queries, "query")
    factor = d**-0.5 if scale is None else scale
    if isinstance(factor, Arg):
        queries, factor = _scaled(t, factor, queries, parts, heads), 1.0
    if value is not None and len(parts) > 1:
        raise error("`value=` sees the values of one source, `over=` has more", value.span, "add them to what comes out instead")
    if feature is not None:
        others = {"pos": pos, "mask": mask, "extra": extra, "row": row, "scale": scale, "drop": drop or None}
        out, *weights = [linear(t, queries, parts, feature, others, heads=heads, eps=eps)]
    else:
        out, *weights = attend(t, queries, parts, pos, mask, heads=heads, scale=factor, drop=drop, row=row)
    if value is not None:
        out = t.binary("+", out, t.single(t.apply(value, parts[0].values)))
    result = t.leaf("linear", "proj", [out], out=wire.c) if proj is None else t.apply(proj, out)
    return [result, *weights] if weights else result


def near(t: Tracer, x: ValueTree, *, size: int | list[int], border: str = "mask", dilation: int = 1) -> ValueTree:
    """In ``over=`` of attention: each query sees the ``size`` tokens an axis around it, ``dilation`` apart.

    Tokens that a neighbourhood lacks at the border of the map are left out (``"mask"``, TransNeXt, arXiv 2311.17132), or are
    zeros that take part (``"zeros"``, DilateFormer, arXiv 2302.01791); ``"clamp"`` moves the neighbourhood inside the map (NAT,
    arXiv 2204.07143).
    """
    if t.near is None:
        raise error("`near` is not where attention's keys come from", hint="write `attention(heads, over=near(3))`")
    wire = t.to(t.single(x), "grid")
    grid = wire.feature.grid
    sizes = (size,) * len(grid) if isinstance(size, int) else tuple(size)
    if len(sizes) != len(grid) or any(s < 1 or s % 2 == 0 for s in sizes):
        axes = f"{len(grid)} ax{'e' if len(grid) > 1 else 'i'}s"
        raise error(f"a neighbourhood of {size} on {axes}", hint="one odd number, or one an axis")
    if border not in ("mask", "zeros", "clamp"):
        raise error(f'unknown border "{border}"', hint='"mask", "zeros" or "clamp"')
    if dilation < 1 or (border == "clamp" and dilation > 1):
        raise error(f"a dilation of {dilation}", hint='at least 1, and 1 for the border "clamp"')
    if border == "clamp" and any(s > g for s, g in zip(sizes, grid, strict=True)):
        shown = "x".join(map(str, sizes))
        raise error(f"a neighbourhood of {shown} does not fit {wire.feature}", hint='choose the border "mask"')
    result = t.do("{0}", [wire], wire.feature)
    t.near[result.id] = Near(sizes, border, dilation)
    return result


# What the keys are made of, and the projections


def _sources(t: Tracer, over: Arg | None, wire: Value) -> list[KeySource]:
    """What the keys are made of. Not yet projected; neighbours come first."""
    if over is None:
        return [KeySource(wire, wire, wire)]
    kept, t.near = t.near, {}
    try:
        value = t.apply(over, wire)
        given = value if isinstance(value, (list, tuple)) else [value]
        found = {i: t.to(t.single(member), "grid", "tokens") for i, member in enumerate(given) if member is not None}
        marked = t.near
    finally:
        t.near = kept
    if not found:
        raise error("`over=` gives no keys", over.span, "leave it out for self-attention")
    if not set(marked) <= {member.id for member in found.values()}:
        name = "near" if any(isinstance(mark, Near) for mark in marked.values()) else "routed"
        raise error(f"`{name}` is not the last of its chain", over.span, "`k` and `v` project what it sees")
    if len(marked) > 1:
        raise error("two neighbourhoods in one attention", over.span, "choose one, or split the heads")
    if len({member.c for member in found.values()}) > 1:
        widths = " and ".join(str(member.c) for member in found.values())
        raise error(f"the members of `over=` are {widths} wide", over.span, "bring them to one width: they are projected alike")
    parts = []
    for number, member in found.items():
        mark = marked.get(member.id)
        near, routed = mark if isinstance(mark, Near) else None, mark if isinstance(mark, Routed) else None
        parts.append(KeySource(member, member, member, near, number, routed=routed))
    return sorted(parts, key=lambda part: part.near is None)


def _packed(t: Tracer, part: KeySource, qkv: Arg | None, heads: int, head_dim: int | None, value_dim: int | None) -> Value:
    """Queries, keys and values by one projection."""
    d = head_dim if head_dim is not None else _share(part.source.c, heads)
    inner = heads * d
    packed = _project(t, qkv, part.source, "qkv", 2 * inner + heads * (value_dim or d))
    queries, part.keys, part.values = t.channels(packed, [inner, inner, _rest(packed, 2 * inner, "qkv", "queries and keys")])
    return queries


def _queries(t: Tracer, wire: Value, q: Arg | None, heads: int, head_dim: int | None) -> Value:
    d = head_dim if head_dim is not None else _share(wire.c, heads) if q is None else 0
    queries = _project(t, q, wire, "q", heads * d)
    _share(queries.c, heads)
    return queries


def _separate(t: Tracer, parts: list[KeySource], queries: Value, given: tuple[Arg | None, ...], wide: int) -> None:
    """Keys and values by projections of their own."""
    k, v, kv = given
    sources = [part.source for part in parts]
    if k is None and v is None:
        both = t.alike(sources, lambda x: _project(t, kv, x, "kv", queries.c + wide))
        for part, packed in zip(parts, both, strict=True):
            part.keys, part.values = t.channels(packed, [queries.c, _rest(packed, queries.c, "kv", "keys")])
        return
    if kv is not None:
        raise error("`kv=` stands for both projections", kv.span, "remove it, or `k` and `v`")
    for part, keys in zip(parts, t.alike(sources, lambda x: _project(t, k, x, "k", queries.c)), strict=True):
        part.keys = keys
    for part, values in zip(parts, t.alike(sources, lambda x: _project(t, v, x, "v", wide)), strict=True):
        part.values = values


def _share(width: int, heads: int) -> int:
    if width % heads:
        raise error(f"{heads} heads do not divide {width} channels", hint="choose another number of heads, or give `head_dim=`")
    return width // heads


def _project(t: Tracer, arg: Arg | None, x: Value, name: str, out: int) -> Value:
    if arg is None:
        return t.leaf("linear", name, [x], out=out)
    return t.to(t.single(t.apply(arg, x)), "grid", "tokens")


def _rest(packed: Value, used: int, name: str, whose: str) -> int:
    """What a packed projection leaves for the values."""
    if packed.c <= used:
        raise error(f"`{name}=` gives {packed.c} channels, the {whose} take {used}", hint="those that remain are the values'")
    return packed.c - used


def _check(queries: Value, part: KeySource, heads: int, d: int) -> None:
    keys, values = part.keys, part.values
    if keys.c != queries.c:
        raise error(f"queries are {queries.c} wide, keys {keys.c}", hint="`q=` and `k=` must end in the same width")
    if keys.feature.n != values.feature.n:
        raise error(f"{keys.feature.n} keys meet {values.feature.n} values", hint="`k=` and `v=` must have the same extents")
    if values.c % heads:
        raise error(f"{heads} heads do not divide {values.c} channels of the values", hint="choose another number of heads")
    if d * heads != queries.c:
        raise error(f"{heads} heads of {d} do not make {queries.c} channels", hint="`head_dim=` times heads is the width of `q=`")
    special = "near" if part.near is not None else "routed" if part.routed is not None else None
    if special and any(w.feature.prefix or w.feature.grid != queries.feature.grid for w in (queries, keys, values)):
        raise error(
            f"`{special}` needs queries, keys and values on one grid, here {queries.feature} and {keys.feature}",
            hint="use it without prefix tokens, on what arrives",
        )


# What is done to queries and keys


def _normed(t: Tracer, arg: Arg, wire: Value, heads: int) -> Value:
    """A module on each head for itself."""
    apart = heads_apart(t, wire, heads)
    return t.do("{0}.flatten(-2)", [_kept(t, arg, apart, "qk_norm")], wire.feature)


def _kept(t: Tracer, arg: Arg, wire: Value, name: str) -> Value:
    """An expression on queries or keys, which leaves their shape as it was."""
    f = wire.feature
    result = t.to(t.single(t.apply(arg, wire)), f.layout)
    if result.feature != f:
        raise error(f"`{name}=` makes {result.feature} of {f}", arg.span, "it must keep the shape")
    return result


def _scaled(t: Tracer, scale: Arg, queries: Value, parts: list[KeySource], heads: int) -> Value:
    """The queries, times a factor for each, or for each and its heads."""
    far = sum(part.count for part in parts if part.near is None)
    kept, t.seen = t.seen, Seen(queries, parts[0].near, far)
    try:
        factor = t.single(t.apply(scale, queries))
    finally:
        t.seen = kept
    if factor.c not in (1, heads):
        raise error(f"`scale=` gives {factor.feature}", scale.span, f"one channel, or {heads}: one a head")
    if factor.c > 1:
        axis = 1 if factor.feature.layout == "map" else -1
        d = queries.c // heads
        factor = t.do(f"{{0}}.repeat_interleave({d}, dim={axis})", [factor], factor.feature.with_(c=queries.c))
    result = t.binary("*", queries, factor)
    if result.feature != queries.feature:
        raise error(f"`scale=` gives {factor.feature} for {queries.feature}", scale.span, "one factor a query, or one for all")
    return result
