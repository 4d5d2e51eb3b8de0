"""Attention whose logits a module computes, without queries and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import error
from ..lowering.arguments import Arg
from ..lowering.context import Near
from ..lowering.ir import Value, single
from .attention_sources import KeySource

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def attend_by_logits(
    t: Tracer,
    x: Value,
    values: Value,
    sources: list[KeySource],
    logits: Arg,
    *,
    heads: int,
    scale: object,
    drop: float,
    norm: str,
) -> Value:
    """``softmax(scale * logits) v`` in each head: ``logits`` on the queries, then the leaf ``attend``.

    Args:
        x: the queries.
        values: the projected values.
        sources: where they come from, one source.
        logits: computes the logits.
        heads: number of heads.
        scale: factor on the logits; None: ``value_dim ** -0.5``, 1 for those of neighbours.
        drop: dropout rate of the weights.
        norm: what makes weights of logits: ``softmax`` or ``none``.

    Returns:
        The extents of the queries, the width of the values; of neighbours the extents of the logits.

    Raises:
        SpecError: a module as ``scale``; keys that are left out, or of several sources; logits of another shape.
    """
    if isinstance(scale, Arg):
        raise error("a module as `scale=` beside `logits=`", scale.span, "give a number, or scale them in `logits=`")
    near = sources[0].near
    if t.now.window is not None or len(sources) > 1 or (sources[0].chooses and near is None):
        hint = "they are for all keys of one, or for neighbours: `over=near(3)`"
        raise error("`logits=` where keys are left out, or of several sources", logits.span, hint)
    if values.c % heads:
        raise error(f"{heads} heads do not divide {values.c} channels of the values", hint="choose another number of heads")
    weights = t.ir.cast(single(t.apply(logits, x)), "grid", "tokens", "vector")
    values, weights, x = t.ir.together(values, weights, x)
    factor = scale if scale is not None else (values.c // heads) ** -0.5 if near is None else 1.0
    options: dict[str, Any] = {"heads": heads, "scale": factor, "drop": drop} | ({} if norm == "softmax" else {"norm": norm})
    if near is not None:
        return _by_taps(t, x, values, weights, near, logits, options)
    f, n, m = weights.feature, x.feature.n, values.feature.n
    if (max(f.n, 1), f.c) not in {(n, heads * m), (1, heads * n * m)}:
        hint = f"{heads * m} channels of each of {n} queries, or {heads * n * m} of one token"
        raise error(f"`logits=` gives {f}, for {heads} heads and {m} keys", logits.span, hint)
    shape = x.feature.with_(layout="tokens", c=values.c)
    out = t.ir.call("attend_given.AttendGiven", "attend", [values, _token(t, weights)], shape, **options)
    return t.ir.cast(out, x.feature.layout)


def _token(t: Tracer, weights: Value) -> Value:
    """A vector as one token."""
    f = weights.feature
    if f.layout != "vector":
        return weights
    return t.ir.inline("{0}.unsqueeze(1)", [weights], f.with_(layout="tokens", grid=(1,)))


def _by_taps(t: Tracer, x: Value, values: Value, weights: Value, near: Near, logits: Arg, options: dict[str, Any]) -> Value:
    """The leaf ``attend`` of neighbours: weights for each place of the values' grid, for some of them, or for all alike."""
    f, g, wide = weights.feature, values.feature, options["heads"] * near.count
    if g.layout != "grid" or g.rank != len(near.size):
        raise error(f"`near` needs values on one grid, here {g}", logits.span, "use it without prefix tokens, on what arrives")
    alike = max(f.n, 1) == 1
    strides = None if f.prefix or alike else _strides(f.grid, g.grid)
    if f.c != wide or (strides is None and not alike):
        hint = f"{wide} channels: one for each of {options['heads']} heads and {near.count} neighbours, of each place, or of one"
        raise error(f"`logits=` gives {f}, for {g}", logits.span, hint)
    if strides is None or set(strides) == {1}:
        shape = g
    else:
        shape, options = g.with_(grid=f.grid), options | {"stride": list(strides)}
    return t.ir.call("attend_taps.AttendTaps", "attend", [values, _token(t, weights)], shape, **near.options, **options)


def _strides(queries: tuple[int, ...], keys: tuple[int, ...]) -> tuple[int, ...] | None:
    """The places of the keys' grid from a query to the next on each axis; None if no stride gives the queries' grid."""
    if len(queries) != len(keys):
        return None
    strides = tuple(-(-m // n) for n, m in zip(queries, keys, strict=True))
    return strides if all(-(-m // s) == n for n, m, s in zip(queries, keys, strides, strict=True)) else None
