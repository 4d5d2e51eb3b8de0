"""Attention: one operator over three algorithms (softmax, features of queries and keys, logits that a module computes)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import error
from ..lowering.arguments import Arg, Expr, Module
from ..lowering.context import Scaled
from ..lowering.ir import Value, ValueTree, single
from .attention_linear import attend_by_features
from .attention_logits import attend_by_logits
from .attention_matrix import Matrix, attend_by_matrix
from .attention_softmax import attend, weigh
from .attention_sources import KeySource, Projections, heads_apart, key_sources, project, project_all, repeat_heads, same_shape
from .rotary import rotated

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

# The arguments of each algorithm beside `heads`, `over`, `v`, `value_dim` and `proj`, which all take; and why it takes no others.
# The argument of an algorithm's name chooses it.
_QUERIES_AND_KEYS = frozenset({"q", "k", "kv", "qkv", "head_dim", "qk_norm", "query", "value", "rotary", "kv_heads"})
_MATRIX = frozenset({"scale", "drop", "mix", "mix_after", "norm"})
_TAKES: Mapping[str, tuple[frozenset[str], str]] = {
    "softmax": (_QUERIES_AND_KEYS | _MATRIX | {"pos", "mask", "extra", "row"}, ""),
    "feature=": (_QUERIES_AND_KEYS | {"feature", "eps"}, "there is no softmax"),
    "logits=": (frozenset({"logits", "scale", "drop", "norm"}), "there are no queries and keys"),
    'over="channels"': (_QUERIES_AND_KEYS - {"rotary"} | _MATRIX, "its matrix is one of channels, not of queries and keys"),
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
    over: Expr | str | None = None,
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
    rotary: Expr | None = None,
    pairs: str = "adjacent",
    kv_heads: int | None = None,
    mix: Expr | None = None,
    mix_after: Expr | None = None,
    norm: str = "softmax",
) -> ValueTree:
    """Multi-head attention: ``proj(softmax(scale * q k' + pos) v + value(v))`` in each head, a group of consecutive channels.

    By default ``q``, ``k`` and ``v`` are projections of what arrives, ``(b, N, c)``. ``over`` takes keys and values from
    elsewhere, or puts channels in the place of tokens; ``feature`` and ``logits`` replace the softmax of products by another
    algorithm; ``mix``, ``mix_after`` and ``norm`` change its matrix. ``pos``, ``mask`` and ``extra`` of
    a list in ``over`` are lists too, an entry a member, `none` for a member without.

    Args:
        heads: number of heads.
        q, k, v, kv, qkv: projections, `id` for none. By default a biased linear map ``qkv``; if keys come from elsewhere, ``q``
            for the queries and ``kv`` for keys and values.
        over: the source of keys and values, applied to the input: a reduction, a pool, a value of another stream. A list: the
            same projections of each member, or lists in ``k``, ``v``, ``kv``, one a member; one softmax over all keys.
            :func:`near`: the neighbours of each query. :func:`past`: itself and those before it. :func:`routed`: the regions
            that match each region. The word
            ``"channels"``: each channel attends to the channels of its head, over all tokens, prefix tokens too:
            ``softmax(scale * q' k) v'``; ``qk_norm`` then gets all heads at once.
        head_dim, value_dim: channels a head of q and k, and of v; by default the width divided by the heads.
        scale: factor on the logits, by default ``head_dim ** -0.5``, and 1 for ``logits`` with ``near``. A module: it gets the
            queries and returns one channel, or one a head.
        pos: a position bias, added to the logits: ``relative_bias``, ``pair_bias``, ``continuous_bias``, ``agent_bias``,
            ``relative_keys``; or a map on the extents (queries, keys) with one channel, or one a head.
        value: gets the values on their grid; its output is added before ``proj``.
        proj: last projection, by default a biased linear map to the width of the input.
        drop: dropout rate of the attention weights.
        qk_norm: applied to each head of q and of k, with separate weights (``q_norm``, ``k_norm``).
        query: applied to q after ``qk_norm``: ``id + learned(1)``.
        mask: gets the source of the keys and returns one channel, a token a key: 1 keeps a key, 0 excludes it.
        extra: with ``near``: weights of the neighbours that are added after the softmax. It gets the queries after ``qk_norm``,
            and returns a channel for each head and neighbour, head by head: ``conv(9 * heads, groups=heads)``.
        row: number of a query, 0 for the class token. Its weights after the softmax, averaged over the heads, are a second
            output: ``y, a = attention(heads, row=0)``.
        feature: linear attention: a non-negative map of each head of q and of k, with one set of weights:
            ``f(q) (f(k)' v) / (f(q) sum f(k)' + eps)``. Its cost grows with the number of tokens, not with its square.
        eps: the constant in that denominator.
        logits: computes the logits itself, instead of q and k: ``heads * keys`` channels of each query, head by head, or
            ``heads * queries * keys`` channels of one token, such as the vector of a window. With ``near``: the weights of the
            neighbours, ``heads * neighbours`` channels of each place, or of one token for all places. On a coarser grid, what
            comes out stands on it, too: at every second place of the values, say.
        rotary: angles for the tokens on the grid of the queries, and on that of the keys, of which only the extents enter: a
            channel for each pair of channels of a head (``head_dim / 2``), or for each head its own (``heads * head_dim / 2``).
            Pairs of channels of q and k are rotated by them, after ``qk_norm`` and ``query``; prefix tokens are left alone.
            :func:`axial`; ``coordinates >> linear(c // 2, bias=false)`` learns the frequencies.
        pairs: which channels of a head rotate together: ``"adjacent"`` ones, or those of its two ``"halves"``.
        kv_heads: number of heads of k and v, each shared by ``heads / kv_heads`` consecutive heads of q: 1 is multi-query
            attention. By default as many as of q.
        mix, mix_after: applied to the matrix before and behind the softmax: a map with a channel a head on the extents (queries,
            keys). ``mix=linear(heads)`` are talking heads. ``pos`` is added before ``mix``, masks apply after it.
        norm: ``"softmax"``; or ``"none"``: the weights are ``scale * q k' + pos``. If nothing needs the matrix, the product is
            computed as ``scale * q (k' v)``, whose cost grows with the number of tokens, not with its square. With ``logits``
            these are the weights.

    Returns:
        The grid and prefix of the queries, with the width of ``proj``; with ``row`` also one channel, a token a key.

    Raises:
        SpecError: heads that do not divide a width; arguments of different algorithms; shapes of q, k, v, ``pos``, ``mask``,
            ``extra``, ``scale``, ``rotary``, ``logits`` or ``mix`` that do not fit each other; a number of ``kv_heads`` that does
            not divide the heads.

    Vaswani et al. 2017, Eq. 1 (arXiv 1706.03762). ``feature``: Katharopoulos et al. 2020, Eq. 5 (arXiv 2006.16236). ``logits``:
    outlook attention of VOLO, Yuan et al. 2021 (arXiv 2106.13112); with ``near`` Dynamic Filter Networks, De Brabandere et al.
    2016 (arXiv 1605.09673), and LightConv and DynamicConv, Wu et al. 2019 (arXiv 1901.10430). ``rotary``: RoFormer, Su et al.
    2021, Eq. 34 (arXiv 2104.09864); with learned frequencies RoPE-Mixed, Heo et al. 2024, Eq. 9 (arXiv 2403.13298).
    ``over="channels"``: XCiT, El-Nouby et al. 2021, Eq. 2 (arXiv 2106.09681). ``kv_heads``: Shazeer 2019 (arXiv 1911.02150),
    Ainslie et al. 2023 (arXiv 2305.13245). ``mix``: Shazeer et al. 2020 (arXiv 2003.02436); ``mix_after``: DeepViT, Zhou et al.
    2021 (arXiv 2103.11886).

    >>> shape_of("attention(4)", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("attention(4, over=avg_pool(2, stride=2), proj=linear(128))", "64x14x14")
    'tokens 14x14 x 128'
    >>> shape_of("attention(4, row=0)", "tokens 1 + 14x14 x 64")
    '[tokens 1 + 14x14 x 64, tokens 1 + 14x14 x 1]'
    >>> shape_of("attention(4, mix=linear(4), mix_after=linear(4))", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("attention(4, over=near(3), logits=linear(4 * 9))", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("attention(4, over=near(3), logits=conv(4 * 9, stride=2))", "64x14x14")
    'tokens 7x7 x 64'
    """
    x = t.ir.cast(single(x), "grid", "tokens")
    _refuse_empty(heads=heads, head_dim=head_dim, value_dim=value_dim, kv_heads=kv_heads)
    if isinstance(over, str) and over != "channels":
        raise error(f'`over="{over}"`', hint='the word is "channels"; a source of keys stands without quotes')
    if norm not in ("softmax", "none"):
        raise error(f'unknown `norm="{norm}"`', hint='"softmax" or "none"')
    if kv_heads is not None and heads % kv_heads:
        raise error(f"{kv_heads} heads of keys and values for {heads} of the queries", hint="a number that divides `heads`")
    source = None if isinstance(over, str) else over
    channels = 'over="channels"' if isinstance(over, str) else "softmax"
    algorithm = "logits=" if logits is not None else "feature=" if feature is not None else channels
    exclusive: dict[str, object] = {
        "q": q,
        "k": k,
        "kv": kv,
        "qkv": qkv,
        "head_dim": head_dim,
        "pos": pos,
        "mask": mask,
        "qk_norm": qk_norm,
    }
    exclusive |= {
        "query": query,
        "extra": extra,
        "row": row,
        "feature": feature,
        "value": value,
        "kv_heads": kv_heads,
        "rotary": rotary,
    }
    exclusive |= {"mix": mix, "mix_after": mix_after, "norm": None if norm == "softmax" else norm}
    if isinstance(over, str) and channels != algorithm:
        raise error(f'`over="channels"` beside `{algorithm}`: {_TAKES[algorithm][1]}', hint="leave out one of them")
    _refuse_others(algorithm, exclusive | {"scale": scale, "drop": drop or None})
    sources = key_sources(t, source, x)
    weights: list[Value] = []
    if logits is not None:
        values = project(t, v, sources[0].source, "v", heads * value_dim if value_dim else sources[0].source.c)
        out = attend_by_logits(t, x, values, sources, logits, heads=heads, scale=scale, drop=drop, norm=norm)
    else:
        few, matrix = kv_heads or heads, Matrix(mix, mix_after, norm, "tokens" if over is source else "channels")
        projections = Projections(q, k, v, kv, qkv, head_dim, value_dim, few)
        queries = project_all(t, x, sources, projections, source, heads)
        plain = _conditioned(t, queries, sources, qk_norm, extra, heads, few, matrix.over)
        queries = plain if query is None else same_shape(t, query, plain, "query")
        if value is not None and (len(sources) > 1 or few != heads):
            reason = "the values of one source, `over=` has more" if few == heads else f"values of {few} heads of {heads}"
            raise error(f"`value=` sees {reason}", value.span, "add them to what comes out instead")
        if few != heads and (feature is not None or not matrix.plain or any(source.selects for source in sources)):
            repeat_heads(t, sources, few, heads // few)
            few = heads
        if feature is not None:
            out = attend_by_features(t, queries, sources, feature, rotary, heads=heads, eps=eps, pairs=pairs)
        else:
            queries, factor = _scaled(t, scale, queries, sources, heads)
            both = [queries, *(source.keys for source in sources)]
            queries, *keys = rotated(t, rotary, both, heads=heads, head_dim=queries.c // heads, pairs=pairs)
            for member, turned in zip(sources, keys, strict=True):
                member.keys = turned
            options: dict[str, Any] = {"heads": heads, "scale": factor, "drop": drop, "row": row, "plain": plain}
            if matrix.plain:
                out, *weights = attend(t, queries, sources, pos, mask, kv_heads=few if few != heads else None, **options)
            else:
                out, *weights = attend_by_matrix(t, queries, sources, matrix, pos, mask, **options)
        if value is not None:
            out = t.ir.binary("+", out, single(t.apply(value, sources[0].values)))
    result = t.ir.call("linear", "proj", [out], out=x.c) if proj is None else t.apply(proj, out)
    return [result, *weights] if weights else result


def _refuse_empty(**sizes: int | None) -> None:
    """Raises SpecError for a number of heads or channels below 1."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise error(f"`{name}=` of attention is {size}", hint="at least 1")


def _refuse_others(algorithm: str, arguments: Mapping[str, object]) -> None:
    """Raises SpecError for an argument that the algorithm does not take."""
    takes, reason = _TAKES[algorithm]
    for name, argument in arguments.items():
        if argument is not None and name not in takes:
            raise error(f"`{name}=` beside `{algorithm}`: {reason}", hint=f"leave out `{name}=`, or `{algorithm}`")


def _conditioned(
    t: Tracer,
    queries: Value,
    sources: list[KeySource],
    qk_norm: Arg | None,
    extra: Arg | None,
    heads: int,
    kv_heads: int,
    over: str,
) -> Value:
    """The queries after ``qk_norm``. The keys are normed too, and ``extra`` weights noted, in their sources."""
    if qk_norm is not None:
        many = (heads, kv_heads) if over == "tokens" else (None, None)
        queries = _normed(t, replace(qk_norm, label="q_norm"), queries, many[0])
        own = replace(qk_norm, label="k_norm")
        normed = t.ir.alike([source.keys for source in sources], lambda keys: _normed(t, own, keys, many[1]))
        for source, keys in zip(sources, normed, strict=True):
            source.keys = keys
    if extra is not None:
        weigh(t, extra, sources, queries, heads)
    return queries


def _normed(t: Tracer, arg: Arg, value: Value, heads: int | None) -> Value:
    """Applies a module to each head; to all at once for None."""
    if heads is None:
        return same_shape(t, arg, value, "qk_norm")
    apart = heads_apart(t, value, heads)
    return t.ir.inline("{0}.flatten(-2)", [same_shape(t, arg, apart, "qk_norm")], value.feature)


def _scaled(t: Tracer, scale: Arg | float | None, queries: Value, sources: list[KeySource], heads: int) -> tuple[Value, float]:
    """The queries and the factor on the logits; a module's factor is multiplied into the queries already."""
    if scale is None:
        return queries, (queries.c // heads) ** -0.5
    return (_multiplied(t, scale, queries, sources, heads), 1.0) if isinstance(scale, Arg) else (queries, scale)


def _multiplied(t: Tracer, scale: Arg, queries: Value, sources: list[KeySource], heads: int) -> Value:
    """The queries times the factor that a module computes for each of them, or for each of their heads."""
    first = sources[0]
    far = sum(source.count for source in sources if source.near is None and source.past is None)
    with t.context.push(scaled=Scaled(queries, first.near, first.past is not None, far)):
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
