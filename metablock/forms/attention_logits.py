"""Attention whose logits a module computes, without queries and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg
from ..lowering.ir import Value, single
from .attention_sources import KeySource

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def attend_by_logits(
    t: Tracer, x: Value, values: Value, sources: list[KeySource], logits: Arg, *, heads: int, scale: object, drop: float
) -> Value:
    """``softmax(scale * logits) v`` in each head: ``logits`` on the queries, then the leaf ``attend``.

    Args:
        x: the queries.
        values: the projected values.
        sources: where they come from, one source.
        logits: computes the logits.
        heads: number of heads.
        scale: factor on the logits; None: ``value_dim ** -0.5``.
        drop: dropout rate of the weights.

    Returns:
        The extents of the queries, the width of the values.

    Raises:
        SpecError: a module as ``scale``; keys that are left out, or of several sources; logits of another shape.
    """
    if isinstance(scale, Arg):
        raise error("a module as `scale=` beside `logits=`", scale.span, "give a number, or scale them in `logits=`")
    if t.now.window is not None or len(sources) > 1 or sources[0].selects:
        raise error("`logits=` where keys are left out, or of several sources", logits.span, "they are for all keys of one")
    if values.c % heads:
        raise error(f"{heads} heads do not divide {values.c} channels of the values", hint="choose another number of heads")
    weights = t.ir.cast(single(t.apply(logits, x)), "grid", "tokens", "vector")
    values, weights, x = t.ir.together(values, weights, x)
    f, n, m = weights.feature, x.feature.n, values.feature.n
    if (max(f.n, 1), f.c) not in {(n, heads * m), (1, heads * n * m)}:
        hint = f"{heads * m} channels of each of {n} queries, or {heads * n * m} of one token"
        raise error(f"`logits=` gives {f}, for {heads} heads and {m} keys", logits.span, hint)
    if f.layout == "vector":
        weights = t.ir.inline("{0}.unsqueeze(1)", [weights], f.with_(layout="tokens", grid=(1,)))
    factor = (values.c // heads) ** -0.5 if scale is None else scale
    shape = x.feature.with_(layout="tokens", c=values.c)
    out = t.ir.call("attend_given.AttendGiven", "attend", [values, weights], shape, heads=heads, scale=factor, drop=drop)
    return t.ir.cast(out, x.feature.layout)
