"""Attention: one form whose projections, keys, position bias and value branch are expressions."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..arguments import Arg, Expr
from ..errors import error
from ..graph import Value, Wire
from ..levels import Pair

if TYPE_CHECKING:
    from ..trace import Tracer


def attention(
    t: Tracer,
    x: Value,
    *,
    heads: int,
    q: Expr | None = None,
    k: Expr | None = None,
    v: Expr | None = None,
    kv: Expr | None = None,
    qkv: Expr | None = None,
    over: Expr | None = None,
    head_dim: int | None = None,
    value_dim: int | None = None,
    scale: float | None = None,
    pos: Expr | None = None,
    value: Expr | None = None,
    proj: Expr | None = None,
    drop: float = 0.0,
) -> Value:
    """Multi-head attention: ``proj(softmax(scale * q k' + pos) v + value(v))``, heads being consecutive groups of channels.

    Args:
        heads: number of heads.
        q, k, v, kv, qkv: projections; by default one biased linear map for all three, or one for q and one for keys and values
            where they come from elsewhere. ``id`` means none.
        over: where keys and values come from, applied to what arrives (a reduction, a pool, a wire of another stream).
        head_dim, value_dim: channels a head of q and k, and of v; by default the width divided by the heads.
        scale: factor on the logits, by default ``head_dim ** -0.5``.
        pos: added to the logits.
        value: sees the values on their grid; added before ``proj``.
        proj: the last projection, by default a biased linear map to the width that arrived.
        drop: dropout on the attention weights.
    """
    wire = t.to(t.single(x), "grid", "tokens")
    for name, number in (("heads", heads), ("head_dim", head_dim), ("value_dim", value_dim)):
        if number is not None and number < 1:
            raise error(f"`{name}=` of attention is {number}", hint="at least 1")
    d = head_dim if head_dim is not None else _share(wire.c if q is None else None, heads)
    source = wire
    if over is not None:
        source = t.to(t.single(t.apply(over, wire)), "grid", "tokens")
    if qkv is not None or (over is None and q is None and k is None and v is None and kv is None):
        if any(part is not None for part in (q, k, v, kv, over)):
            hint = "remove it, or `q`, `k`, `v`, `kv`, `over`"
            raise error("`qkv=` stands for all three projections", qkv.span if qkv else None, hint)
        assert d is not None
        inner, wide = heads * d, heads * (value_dim or d)
        packed = _project(t, qkv, wire, "qkv", 2 * inner + wide)
        queries, keys, values = t.channels(packed, [inner, inner, _rest(packed, 2 * inner, "qkv", "queries and keys")])
    else:
        queries = _project(t, q, wire, "q", heads * (d or 0))
        d = queries.c // heads if d is None else d
        _share(queries.c, heads)
        inner, wide = queries.c, heads * (value_dim or d)
        if k is None and v is None:
            packed = _project(t, kv, source, "kv", inner + wide)
            keys, values = t.channels(packed, [inner, _rest(packed, inner, "kv", "keys")])
        else:
            if kv is not None:
                raise error("`kv=` stands for both projections", kv.span, "remove it, or `k` and `v`")
            keys = _project(t, k, source, "k", inner)
            values = _project(t, v, source, "v", wide)
    assert d is not None
    _check(queries, keys, values, heads, d)
    windows = max(wire.feature.windows for wire in (queries, keys, values))
    queries, keys, values = (t.spread(part, windows) for part in (queries, keys, values))
    bias = _bias(t, pos, heads, queries, keys)
    inputs = [queries, keys, values, *([bias] if bias else [])]
    mask = _mask(t, queries, keys)
    if mask is not None:
        inputs.append(mask)
    shape = queries.feature.with_(c=values.c)
    given = {"heads": heads, "scale": d**-0.5 if scale is None else scale, "drop": drop, "biased": bias is not None}
    out = t.leaf("attend.Attend", "attend", inputs, shape, **given)
    if value is not None:
        out = t.binary("+", out, t.single(t.apply(value, values)))
    if proj is None:
        return t.leaf("linear", "proj", [out], out=wire.c)
    return t.apply(proj, out)


def _share(width: int | None, heads: int) -> int | None:
    if width is None:
        return None
    if width % heads:
        raise error(f"{heads} heads do not divide {width} channels", hint="choose another number of heads, or give `head_dim=`")
    return width // heads


def _project(t: Tracer, arg: Arg | None, x: Wire, name: str, out: int) -> Wire:
    if arg is None:
        return t.leaf("linear", name, [x], out=out)
    return t.to(t.single(t.apply(arg, x)), "grid", "tokens")


def _rest(packed: Wire, used: int, name: str, whose: str) -> int:
    """What a packed projection leaves for the values."""
    if packed.c <= used:
        raise error(f"`{name}=` gives {packed.c} channels, the {whose} take {used}", hint="those that remain are the values'")
    return packed.c - used


def _mask(t: Tracer, queries: Wire, keys: Wire) -> Wire | None:
    """The mask of shifted windows, where queries and keys both are the tokens of a window."""
    q, k = queries.feature, keys.feature
    if t.mask is None or not q.grid == k.grid == t.mask.size:
        return None
    if q.prefix or k.prefix:
        raise error("prefix tokens in a shifted window have no place in its mask", hint="shift by 0, or join them outside")
    count = prod(t.mask.grid) // prod(t.mask.size)
    shape = q.with_(layout="table", c=count, grid=(q.n, k.n))
    given = {"size": list(t.mask.size), "shift": list(t.mask.shift)}
    return t.leaf("window_mask.WindowMask", "mask", [], shape, grid=t.mask.grid, **given)


def _check(queries: Wire, keys: Wire, values: Wire, heads: int, d: int | None) -> None:
    if keys.c != queries.c:
        raise error(f"queries are {queries.c} wide, keys {keys.c}", hint="`q=` and `k=` must end in the same width")
    if keys.feature.n != values.feature.n:
        raise error(f"{keys.feature.n} keys meet {values.feature.n} values", hint="`k=` and `v=` must have the same extents")
    if values.c % heads:
        raise error(f"{heads} heads do not divide {values.c} channels of the values", hint="choose another number of heads")
    if d is None or d * heads != queries.c:
        raise error(f"{heads} heads of {d} do not make {queries.c} channels", hint="`head_dim=` times heads is the width of `q=`")


def _bias(t: Tracer, pos: Arg | None, heads: int, queries: Wire, keys: Wire) -> Wire | None:
    if pos is None:
        return None
    kept, t.pair = t.pair, Pair(heads, queries, keys)
    try:
        bias = t.apply(pos, queries)
    finally:
        t.pair = kept
    if bias is None:
        return None
    wire = t.single(bias)
    if wire.feature.layout != "table" or wire.feature.grid != (queries.feature.n, keys.feature.n):
        raise error(f"`pos=` gives {wire.feature}", pos.span, "it takes a position bias: `relative_bias`, `agent_bias` ...")
    return wire
