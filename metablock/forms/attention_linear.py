"""Linear attention: a product of features of queries and keys, without a matrix of all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg
from ..lowering.ir import Value, single
from .attention_sources import KeySource, heads_apart, union
from .rotary import rotated

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def attend_by_features(
    t: Tracer,
    queries: Value,
    sources: list[KeySource],
    feature: Arg,
    rotary: Arg | None,
    *,
    heads: int,
    eps: float,
    pairs: str,
) -> Value:
    """``f(q) (f(k)' v) / (f(q) sum f(k)' + eps)`` in each head: ``feature`` on queries and keys, then the leaf ``attend``.

    Args:
        queries: ``(b, N, heads * d)``.
        sources: the keys and values.
        feature: the map ``f``, on each head.
        rotary, pairs: these arguments of attention. Features are rotated in the numerator, and not in the denominator, which
            stays positive (RoFormer, arXiv 2104.09864, Sec. 3.3).
        heads: number of heads.
        eps: the constant in the denominator.

    Returns:
        The extents of the queries, the width of the values.

    Raises:
        SpecError: keys that are left out (a shifted window, ``near``, ``past``, ``routed``); ``feature`` changes the extents;
            ``rotary`` of several sources.
    """
    if t.now.window is not None or any(source.chooses for source in sources):
        hint = "it is for all keys: without `shift=`, `near`, `past`, `routed`"
        raise error("`feature=` where keys are left out", feature.span, hint)
    queries, *rest = t.ir.together(queries, *[value for source in sources for value in (source.keys, source.values)])
    keys, values = union(t, rest[::2]), union(t, rest[1::2])
    width = [queries.c // heads]

    def mapped(value: Value) -> Value:
        result = t.ir.cast(single(t.apply(feature, value)), "grid")
        if result.feature.with_(c=value.c) != value.feature:
            raise error(f"`feature=` makes {result.feature} of {value.feature}", feature.span, "it must keep the extents")
        width[0] = result.c
        return result

    features = t.ir.alike([heads_apart(t, value, heads) for value in (queries, keys)], mapped)
    wide = heads * width[0]
    pair = [
        t.ir.inline("{0}.flatten(-2)", [f], value.feature.with_(c=wide))
        for f, value in zip(features, (queries, keys), strict=True)
    ]
    if rotary is not None and len(sources) > 1:
        raise error(
            "`rotary=` of several sources beside `feature=`", rotary.span, "their keys are one sequence: choose one source"
        )
    turned = rotated(t, rotary, pair, heads=heads, head_dim=width[0], pairs=pairs)
    inputs = [*pair, values, *(turned if rotary is not None else [])]
    options = {"heads": heads, "eps": eps, "rotary": rotary is not None}
    return t.ir.call("attend_linear.AttendLinear", "attend", inputs, queries.feature.with_(c=values.c), **options)
