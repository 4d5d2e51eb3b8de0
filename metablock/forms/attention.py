"""Attention: one operator over three algorithms (softmax, features of queries and keys, logits that a module computes)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg, Expr, Module
from ..lowering.context import Scaled
from ..lowering.ir import Value, ValueTree, single
from .attention_linear import attend_by_features
from .attention_logits import attend_by_logits
from .attention_softmax import attend, weigh
from .attention_sources import KeySource, Projections, heads_apart, key_sources, project, project_all

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

# Which arguments belong to which algorithm. All take `heads`, `over`, `v`, `value_dim` and `proj`. An algorithm is chosen by the
# argument of its name; the reason is why it takes no others.
_QUERIES_AND_KEYS = frozenset({"q", "k", "kv", "qkv", "head_dim", "qk_norm", "query", "value"})
_TAKES: Mapping[str, tuple[frozenset[str], str]] = {
    "softmax": (_QUERIES_AND_KEYS | {"scale", "pos", "mask", "extra", "row", "drop"}, ""),
    "feature": (_QUERIES_AND_KEYS | {"feature", "eps"}, "there is no softmax"),
    "logits": (frozenset({"logits", "scale", "drop"}), "there are no queries and keys"),
}


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
    x = t.ir.cast(single(x), "grid", "tokens")
    for name, number in (("heads", heads), ("head_dim", head_dim), ("value_dim", value_dim)):
        if number is not None and number < 1:
            raise error(f"`{name}=` of attention is {number}", hint="at least 1")
    algorithm = "logits" if logits is not None else "feature" if feature is not None else "softmax"
    exclusive = {"q": q, "k": k, "kv": kv, "qkv": qkv, "head_dim": head_dim, "pos": pos, "mask": mask, "qk_norm": qk_norm}
    exclusive |= {"query": query, "extra": extra, "row": row, "feature": feature, "value": value}
    _refuse_others(algorithm, exclusive | {"scale": scale, "drop": drop or None})
    sources = key_sources(t, over, x)
    weights: list[Value] = []
    if logits is not None:
        values = project(t, v, sources[0].source, "v", heads * value_dim if value_dim else sources[0].source.c)
        out = attend_by_logits(t, x, values, sources, logits, heads=heads, scale=scale, drop=drop)
    else:
        queries = project_all(t, x, sources, Projections(q, k, v, kv, qkv, head_dim, value_dim), over, heads)
        queries = _conditioned(t, queries, sources, qk_norm, extra, query, heads)
        if value is not None and len(sources) > 1:
            hint = "add them to what comes out instead"
            raise error("`value=` sees the values of one source, `over=` has more", value.span, hint)
        if feature is not None:
            out = attend_by_features(t, queries, sources, feature, heads=heads, eps=eps)
        else:
            factor = (queries.c // heads) ** -0.5 if scale is None else scale
            if isinstance(factor, Arg):
                queries, factor = _scaled(t, factor, queries, sources, heads), 1.0
            out, *weights = attend(t, queries, sources, pos, mask, heads=heads, scale=factor, drop=drop, row=row)
        if value is not None:
            out = t.ir.binary("+", out, single(t.apply(value, sources[0].values)))
    result = t.ir.call("linear", "proj", [out], out=x.c) if proj is None else t.apply(proj, out)
    return [result, *weights] if weights else result


def _refuse_others(algorithm: str, arguments: Mapping[str, object]) -> None:
    """Raises SpecError for an argument that the algorithm does not take."""
    takes, reason = _TAKES[algorithm]
    for name, argument in arguments.items():
        if argument is not None and name not in takes:
            raise error(f"`{name}=` beside `{algorithm}=`: {reason}", hint=f"leave out `{name}=`, or `{algorithm}=`")


def _conditioned(
    t: Tracer, queries: Value, sources: list[KeySource], qk_norm: Arg | None, extra: Arg | None, query: Arg | None, heads: int
) -> Value:
    """The queries normed and changed; the keys normed, and the weights outside the softmax, in their sources."""
    if qk_norm is not None:
        queries = _normed(t, replace(qk_norm, label="q_norm"), queries, heads)
        own = replace(qk_norm, label="k_norm")
        normed = t.ir.alike([source.keys for source in sources], lambda keys: _normed(t, own, keys, heads))
        for source, keys in zip(sources, normed, strict=True):
            source.keys = keys
    if extra is not None:
        weigh(t, extra, sources, queries, heads)
    return queries if query is None else _same_shape(t, query, queries, "query")


def _normed(t: Tracer, arg: Arg, value: Value, heads: int) -> Value:
    """A module on each head for itself."""
    apart = heads_apart(t, value, heads)
    return t.ir.inline("{0}.flatten(-2)", [_same_shape(t, arg, apart, "qk_norm")], value.feature)


def _same_shape(t: Tracer, arg: Arg, value: Value, name: str) -> Value:
    """An expression on queries or keys that leaves their shape as it was."""
    f = value.feature
    result = t.ir.cast(single(t.apply(arg, value)), f.layout)
    if result.feature != f:
        raise error(f"`{name}=` makes {result.feature} of {f}", arg.span, "it must keep the shape")
    return result


def _scaled(t: Tracer, scale: Arg, queries: Value, sources: list[KeySource], heads: int) -> Value:
    """The queries, times a factor for each, or for each and its heads."""
    far = sum(source.count for source in sources if source.near is None)
    with t.context.push(scaled=Scaled(queries, sources[0].near, far)):
        factor = single(t.apply(scale, queries))
    if factor.c not in (1, heads):
        raise error(f"`scale=` gives {factor.feature}", scale.span, f"one channel, or {heads}: one a head")
    if factor.c > 1:
        axis = 1 if factor.feature.layout == "map" else -1
        d = queries.c // heads
        factor = t.ir.inline(f"{{0}}.repeat_interleave({d}, dim={axis})", [factor], factor.feature.with_(c=queries.c))
    result = t.ir.binary("*", queries, factor)
    if result.feature != queries.feature:
        raise error(f"`scale=` gives {factor.feature} for {queries.feature}", scale.span, "one factor a query, or one for all")
    return result
