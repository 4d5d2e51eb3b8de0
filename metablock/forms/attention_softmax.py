"""Softmax attention: all queries on all keys, on neighbours or on regions, with position biases and masks."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from ..errors import error
from ..lowering.arguments import Arg
from ..lowering.context import Pair
from ..lowering.ir import Value, ValueTree, single
from ..shape import Feature
from .attention_sources import KeySource, per_source, union

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def attend(
    t: Tracer,
    queries: Value,
    sources: list[KeySource],
    pos: Arg | None,
    mask: Arg | None,
    *,
    heads: int,
    scale: float,
    drop: float,
    row: int | None = None,
    plain: Value | None = None,
    kv_heads: int | None = None,
) -> list[Value]:
    """``softmax(scale * q k' + pos) v`` in each head: the leaf ``attend``, with those of ``pos`` and of shifted windows.

    Args:
        queries: ``(b, N, heads * d)``.
        sources: the keys and values.
        pos, mask: these arguments of attention.
        heads, scale, drop: the number of heads, the factor on the logits, the dropout rate of the weights.
        row: number of a query whose weights are returned too, on the grid of the keys.
        plain: the queries before ``query`` and ``scale``, for ``pos``.
        kv_heads: number of heads of keys and values, if they are fewer; those of neighbours and regions are repeated before.

    Returns:
        The output with the extents of the queries and the width of the values; then the weights, if there is a ``row``.

    Raises:
        SpecError: a bias or mask of another shape; an argument that these keys do not allow.
    """
    queries, *rest = t.ir.together(queries, *[value for source in sources for value in (source.keys, source.values)])
    for source, keys, values in zip(sources, rest[::2], rest[1::2], strict=True):
        source.keys, source.values = keys, values
    if any(source.routed for source in sources):
        return [_routed(t, queries, sources, {"pos": pos, "mask": mask, "row": row}, heads=heads, scale=scale, drop=drop)]
    bias = bias_of(t, pos, heads, queries, sources, plain)
    keep = keep_of(t, mask, sources)
    shifted = shifted_mask(t, queries, sources)
    neighbours = sources[0].near
    far = [source for source in sources if source.near is None]
    inputs = [queries, *keys_and_values(t, sources[:1] if neighbours is not None else []), *keys_and_values(t, far)]
    extra = None if sources[0].extra is None else t.ir.together(sources[0].extra, queries)[0]
    inputs += [value for value in (bias, shifted, keep, extra) if value is not None]
    shape = queries.feature.with_(c=sources[0].values.c * heads // (kv_heads or heads))
    shared: dict[str, object] = {"heads": heads, "scale": scale, "drop": drop, "biased": bias is not None}
    if sources[0].past is not None:
        shared |= {"causal": True, "far": len(sources) > 1}
    if neighbours is None:
        shared["batched"] = bias is not None and bias.feature.layout == "map"
        further = () if row is None else (row_shape(queries, inputs[1], row),)
        return t.ir.call_with_results(
            "attend.Attend", "attend", inputs, shape, further, masked=keep is not None, row=row, kv_heads=kv_heads, **shared
        )
    if row is not None:
        raise error("`row=` of neighbours: each query has keys of its own", hint="leave out `near(...)`, or `row=`")
    options = neighbours.options | {"far": bool(far), "extra": extra is not None}
    return [t.ir.call("attend_near.AttendNear", "attend", inputs, shape, **options, **shared)]


def keys_and_values(t: Tracer, sources: list[KeySource]) -> list[Value]:
    """The keys of all sources and their values; nothing without sources."""
    return [union(t, [source.keys for source in sources]), union(t, [source.values for source in sources])] if sources else []


def _routed(t: Tracer, queries: Value, sources: list[KeySource], others: dict[str, object], **options: float) -> Value:
    """The leaf ``attend`` of regions that attend to regions. ``others`` are the arguments that it does not take."""
    if len(sources) > 1:
        raise error("`routed` keys in a union", hint="they stand alone: `over=routed(4)`")
    for name in (name for name, value in others.items() if value is not None):
        raise error(f"`{name}=` of `routed` keys: each region has keys of its own", hint=f"leave out `{name}=`, or `routed`")
    if shifted_mask(t, queries, sources) is not None:
        raise error("`routed` keys in a shifted window have no mask", hint="shift by 0, or attend outside")
    (source,) = sources
    assert source.routed is not None
    shape = queries.feature.with_(c=source.values.c)
    regions, inputs = list(source.routed.regions), [queries, source.keys, source.values]
    return t.ir.call("attend_routed.AttendRouted", "attend", inputs, shape, regions=regions, top=source.routed.top, **options)


def row_shape(queries: Value, keys: Value, row: int) -> Feature:
    """The shape of the weights of one query: one channel, a token a key."""
    n = queries.feature.n
    if not -n <= row < n:
        raise error(f"there is no query {row}: there are {n}", hint="they are numbered from 0, prefix tokens first")
    return keys.feature.with_(c=1)


def weigh(t: Tracer, extra: Arg, sources: list[KeySource], queries: Value, heads: int) -> None:
    """Notes the weights of neighbours that ``extra`` computes from the queries, in their sources.

    Raises:
        SpecError: keys that are not neighbours; weights of another shape.
    """
    for arg, source in zip(per_source(t, extra, sources, "extra"), sources, strict=True):
        value = None if arg is None else t.apply(arg, queries)
        if arg is None or value is None:
            continue
        if source.near is None:
            hint = "`over=near(3)`; `none` for other members of a list"
            raise error("`extra=` are weights of neighbours, these keys are none", arg.span, hint)
        weights = t.ir.cast(single(value), "grid")
        wanted = queries.feature.with_(c=heads * source.count)
        if weights.feature != wanted:
            hint = f"a channel for each of {heads} heads and {source.count} neighbours"
            raise error(f"`extra=` gives {weights.feature}, the weights are {wanted}", arg.span, hint)
        source.extra = weights


def keys_seen(t: Tracer, x: ValueTree) -> ValueTree:
    """In ``scale=`` of attention: the number of keys that each query attends to, in one channel.

    Keys that ``mask=`` excludes count; those that a neighbourhood lacks at the border, or that come after a query that sees the
    ``past``, do not. ``keys_seen >> log`` keeps the
    entropy of the attention weights the same for any number of keys.

    Returns:
        One token for all queries; with ``past``, and with ``near`` and its border ``"mask"``, a token for each of them.

    Raises:
        SpecError: outside ``scale=`` of attention.

    Length-scaled attention of TransNeXt, Shi 2024 (arXiv 2311.17132).

    >>> shape_of("attention(4, over=[near(3), adaptive_avg_pool(7)], scale=keys_seen >> log)", "64x14x14")
    'tokens 14x14 x 64'
    """
    scaled = t.now.scaled
    if scaled is None:
        raise error("`keys_seen` is not in the scale of an attention", hint="write `attention(heads, scale=keys_seen >> log)`")
    near, f = scaled.near, scaled.queries.feature
    if scaled.past:  # a neighbourhood of all tokens, in a row, that ends at the query
        options: dict[str, Any] = {"size": [f.n], "side": "past", "far": scaled.far}
        row = t.ir.cast(scaled.queries, "tokens")
        count = t.ir.call("keys_seen.KeysSeen", "keys_seen", [row], row.feature.with_(c=1), grid=(f.n,), **options)
        return t.ir.cast(count, f.layout)
    if near is None or near.border != "mask":
        reached = 0 if near is None else near.reach(f.grid)
        shape = f.with_(layout="tokens", c=1, grid=(1,), prefix=0)
        return t.ir.call("keys_seen.KeysSeen", "keys_seen", [scaled.queries], shape, grid=(), far=scaled.far + reached)
    sizes = {name: value for name, value in near.options.items() if name != "border"} | {"far": scaled.far}
    return t.ir.call("keys_seen.KeysSeen", "keys_seen", [scaled.queries], f.with_(c=1), grid=f.grid, **sizes)


def bias_of(
    t: Tracer, pos: Arg | None, heads: int, queries: Value, sources: list[KeySource], plain: Value | None
) -> Value | None:
    """The position biases of all keys, side by side; zeros for sources without one. None if there is none.

    Tables ``(heads, queries, keys)``, or maps with a channel a head on the extents (queries, keys), which have a batch. One map
    makes a map of all.
    """
    args = per_source(t, pos, sources, "pos")
    pairs = [Pair(heads, queries, source.keys, source.near, plain, source.outside) for source in sources]
    biases = [_one_bias(t, arg, pair, source.count) for arg, pair, source in zip(args, pairs, sources, strict=True)]
    present = [bias for bias in biases if bias is not None]
    if len(sources) == 1 or not present:
        return biases[0]
    n, total = queries.feature.n, sum(source.count for source in sources)
    present.sort(key=lambda bias: bias.feature.layout == "table")  # a map first: it knows the batch
    batch = "" if present[0].feature.layout == "table" else "{0}.shape[0], "
    texts = []
    for bias, source in zip(biases, sources, strict=True):
        if bias is None:
            texts.append(f"{{0}}.new_zeros(({batch}{heads}, {n}, {source.count}))")
        else:
            alike = bias.feature.layout == present[0].feature.layout
            texts.append(f"{{{present.index(bias)}}}" + ("" if alike else f".expand({batch}-1, -1, -1)"))
    return t.ir.inline(f"torch.cat([{', '.join(texts)}], dim=-1)", present, present[0].feature.with_(grid=(n, total)))


def _one_bias(t: Tracer, pos: Arg | None, pair: Pair, count: int) -> Value | None:
    """The position bias of one source. Raises SpecError if ``pos=`` returns anything else."""
    if pos is None:
        return None
    with t.context.push(pair=pair):
        bias = t.apply(pos, pair.queries)
    if bias is None:
        return None
    value = single(bias)
    f, extents = value.feature, (pair.queries.feature.n, count)
    if f.layout in ("map", "grid") and f.grid == extents and f.c in (1, pair.heads):
        value = t.ir.together(t.ir.cast(value, "map"), pair.queries)[0]
        if f.c < pair.heads:
            value = t.ir.inline(f"{{0}}.expand(-1, {pair.heads}, -1, -1)", [value], value.feature.with_(c=pair.heads))
    elif (f.layout, f.c, f.grid) != ("table", pair.heads, extents):
        hint = "a position bias, `relative_bias` ...; or a map of queries and keys with one channel, or one a head"
        raise error(f"`pos=` gives {f}", pos.span, hint)
    return value


def keep_of(t: Tracer, mask: Arg | None, sources: list[KeySource]) -> Value | None:
    """Which keys take part: one channel, a token a key; ones for sources without a mask. None if there is none."""
    masks = [_one_keep(t, arg, source) for arg, source in zip(per_source(t, mask, sources, "mask"), sources, strict=True)]
    if len(sources) == 1 or not any(masks):
        return masks[0]
    texts: list[str] = []
    inputs: list[Value] = []
    for value, source in zip(masks, sources, strict=True):
        place = f"{{{len(inputs)}}}"
        texts.append(place if value is not None else f"torch.ones_like({place}[..., :1])")
        inputs.append(t.ir.cast(source.keys if value is None else value, "tokens"))
    shape = inputs[0].feature.with_(c=1, prefix=0, grid=(sum(source.count for source in sources),))
    return t.ir.inline(f"torch.cat([{', '.join(texts)}], dim=1)", inputs, shape)


def _one_keep(t: Tracer, mask: Arg | None, source: KeySource) -> Value | None:
    """The mask of one source. Raises SpecError if ``mask=`` does not fit its keys."""
    value = None if mask is None else t.apply(mask, source.source)
    if mask is None or value is None:
        return None
    if source.near is not None:
        raise error("`mask=` does not reach a neighbourhood", mask.span, "its border is `near(n, border=...)`'s own")
    keep = t.ir.cast(single(value), "grid", "tokens")
    f = source.keys.feature
    if keep.c != 1 or keep.feature.n != f.n or len(keep.feature.around) > len(f.around):
        hint = "one channel, and a token for each key, prefix tokens included: `join(ones(1, 1), mask)`"
        raise error(f"`mask=` gives {keep.feature}, the keys are {f}", mask.span, hint)
    return t.ir.together(keep, source.keys)[0]


def shifted_mask(t: Tracer, queries: Value, sources: list[KeySource]) -> Value | None:
    """The mask of a shifted window, if queries and keys are both the tokens of a window."""
    q = queries.feature
    window = t.now.window
    if window is None or q.grid != window.size or all(source.keys.feature.grid != q.grid for source in sources):
        return None
    if len(sources) > 1 or sources[0].near is not None:
        hint = "shift by 0, or attend outside"
        raise error("a union of keys, or neighbours, in a shifted window have no mask", hint=hint)
    if q.prefix or sources[0].keys.feature.prefix:
        raise error("prefix tokens in a shifted window have no place in its mask", hint="shift by 0, or join them outside")
    count = prod(window.grid) // prod(window.size)
    shape = q.with_(layout="table", c=count, grid=(q.n, q.n))
    sizes = {"size": list(window.size), "shift": list(window.shift)}
    return t.ir.call("window_mask.WindowMask", "mask", [], shape, grid=window.grid, **sizes)
