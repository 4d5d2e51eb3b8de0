"""A position bias that sees the queries: it multiplies them with vectors of relative offsets."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..language.budget import spend
from ..lowering.arguments import Expr, Module
from ..lowering.ir import Value, ValueTree, single
from .attention_sources import same_shape
from .positions import pair_around

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def relative_keys(
    t: Tracer,
    x: ValueTree,
    *,
    axes: str = "apart",
    by: Module | None = None,
    query: Expr | None = None,
    scale: float = 1.0,
    std: float = 0.02,
) -> ValueTree:
    """In ``pos=`` of attention: the product of each query with a learned vector of its offset to the key, head by head.

    On an axis of n queries and m keys the offset is counted in places of the finer grid, from ``1 - max(n, m)`` to ``max(n, m) -
    1``. Queries are taken after ``qk_norm``, before ``query`` and ``scale`` of the attention. A prefix token has no place: its
    bias is 0.

    Args:
        axes: ``"apart"``: a vector for each offset of each axis, ``q . R_y + q . R_x``, which all heads share; ``"joint"``: one
            for each offset along all axes.
        by: computes the vectors instead: a module that gets each offset once, on a grid of ``2 max(n, m) - 1`` places an axis,
            its numbers in a channel an axis, and returns ``heads * head_dim`` channels, or ``head_dim`` for all heads.
        query: applied to the queries first: ``id + learned(1)``, a bias of its own (Transformer-XL).
        scale: factor on the products.
        std: standard deviation of the initial vectors (truncated normal).

    Returns:
        A map with a channel a head on the extents (queries, keys).

    Raises:
        SpecError: outside ``pos=`` of attention; with ``near``; queries or keys without a common number of axes; another word for
            ``axes``, or one beside ``by``; another shape from ``by`` or ``query``.

    MViTv2, Li et al. 2022, Eq. 3 (arXiv 2112.01526), indexed as in its code. ``by``: Transformer-XL, Dai et al. 2019, Sec. 3.3
    (arXiv 1901.02860): ``attention(heads, query=id + learned(1), pos=relative_keys(by=..., query=id + learned(1),
    scale=head_dim ** -0.5))``.

    >>> shape_of("attention(4, over=avg_pool(2, stride=2), pos=relative_keys)", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("attention(4, pos=relative_keys(by=linear(64, bias=false)))", "64x14x14")
    'tokens 14x14 x 64'
    """
    pair = pair_around(t, "relative_keys")
    q, k = pair.queries.feature, pair.keys.feature
    if axes not in ("apart", "joint"):
        raise error(f'unknown axes "{axes}"', hint='"apart" or "joint"')
    if by is not None and axes != "apart":
        raise error("`axes=` beside `by=`: it computes a vector for each offset along all axes", hint="leave out one of them")
    if pair.near is not None:
        raise error("`relative_keys` is not for neighbours", hint="`relative_bias` has a number for each of them")
    if q.rank != k.rank or q.rank > 3:
        hint = "keys of another rank have no offset to the queries"
        raise error(f"`relative_keys` needs queries and keys on grids, here {q} and {k}", hint=hint)
    queries = t.ir.together(pair.queries if pair.plain is None else pair.plain, pair.queries)[0]
    if query is not None:
        queries = same_shape(t, query, queries, "query")
    shape = q.with_(layout="map", c=pair.heads, grid=(q.n, k.n), prefix=0, of=None)
    options = {"heads": pair.heads, "keys": list(k.grid), "key_prefix": k.prefix, "scale": scale}
    spend(prod(q.grid) // 8)
    if by is None:
        return t.ir.call("relative_keys.RelativeKeys", "table", [queries], shape, joint=axes == "joint", std=std, **options)
    own = q.grid == k.grid and not q.prefix and not k.prefix  # as for any extents
    queries = t.ir.cast(queries, "grid") if own else queries
    vectors = _vectors(t, by, queries, list(k.grid), pair.heads, own)
    if own:
        inputs = [queries, vectors]
        return t.ir.call("relative_keys.AtOwnOffsets", "table", inputs, shape, heads=pair.heads, scale=scale)
    facts = {"grid": q.grid, "prefix": q.prefix}
    return t.ir.call("relative_keys.AtOffsets", "table", [queries, vectors], shape, **facts, **options)


def _vectors(t: Tracer, by: Module, queries: Value, keys: list[int], heads: int, own: bool) -> Value:
    """A vector for each offset. Raises SpecError for another shape from ``by``."""
    f = queries.feature
    counts = tuple(2 * max(n, m) - 1 for n, m in zip(f.grid, keys, strict=True))
    places = f.with_(layout="grid", c=f.rank, grid=counts, prefix=0, around=(), of=None)
    if own:
        offsets = t.ir.call("relative_keys.OwnOffsets", "offsets", [queries], places)
    else:
        offsets = t.ir.call("relative_keys.Offsets", "offsets", [], places, grid=f.grid, keys=keys)
    with t.context.push(role="table"):
        vectors = t.ir.cast(single(t.apply(by, offsets)), "grid", "tokens")
    if vectors.feature.n != prod(counts) or vectors.c not in (f.c, f.c // heads):
        hint = f"end it in {f.c} channels, or in {f.c // heads} for all heads; it must keep the offsets"
        raise error(f"`by=` gives {vectors.feature} for {prod(counts)} offsets", by.span, hint)
    return vectors
