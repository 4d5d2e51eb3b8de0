"""Deformable attention: each query reads a few places, which it predicts, of maps of several sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr, Module
from ..lowering.ir import Value, ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def deformable(
    t: Tracer,
    x: ValueTree,
    *,
    heads: int,
    over: Expr | None = None,
    points: int = 4,
    ratio: float = 1.0,
    v: Module | None = None,
    proj: Module | None = None,
) -> ValueTree:
    """Multi-scale deformable attention: each query and head reads ``points`` places of every map of values, around its own place.

    Linear maps of the query give the places and their weights, which sum to 1 over the points of all maps. Between pixels, values
    are bilinear. In two dimensions.

    Args:
        heads: number of heads: consecutive groups of channels.
        over: the source of the values, applied to the input: a map, or a list of maps of any extents and one width; by default
            the queries' own maps.
        points: places that a head reads of each map.
        ratio: width of the values, relative to that of the queries.
        v: projection of the values, the same for all maps; by default a biased linear map.
        proj: last projection; by default a biased linear map to the width of the input.

    Returns:
        The queries' grid, channels last. For a list of maps as queries a list: each is answered by the same weights.

    Raises:
        SpecError: heads or points below 1; heads that do not divide the width of the values; maps of several widths, or not in
            two dimensions; no values.

    Deformable DETR, Zhu et al. 2021, Eq. 3 (arXiv 2010.04159).

    >>> shape_of("deformable(4, over=[id, avg_pool(2, stride=2)])", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("[id, avg_pool(2, stride=2)] >> deformable(4)", "64x14x14")
    '[tokens 14x14 x 64, tokens 7x7 x 64]'
    """
    for name, number in (("heads", heads), ("points", points)):
        if number < 1:
            raise error(f"`{name}=` of deformable attention is {number}", hint="at least 1")
    several = isinstance(x, (list, tuple))
    queries = _maps(t, x, "queries")
    width = int(ratio * queries[0].c)
    if width < 1 or width % heads:
        raise error(f"{heads} heads do not divide {width} channels of the values", hint="choose another number, or `ratio=`")
    source = x if over is None else t.apply(over, x)
    if source is None:
        raise error("`over=` gives no values", over.span if over else None, "leave it out: the queries read their own maps")
    queries[0], *maps = t.ir.together(queries[0], *_maps(t, source, "values"))

    def valued(value: Value) -> Value:
        return t.ir.call("linear", "v", [value], out=width) if v is None else t.ir.cast(single(t.apply(v, value)), "grid")

    values = t.ir.alike(maps, valued)

    def answered(value: Value) -> Value:
        core = "attend_deformable.AttendDeformable"
        read = t.ir.call(core, "attend", [value, *values], heads=heads, points=points, levels=len(values))
        return t.ir.call("linear", "proj", [read], out=value.c) if proj is None else single(t.apply(proj, read))

    answers = t.ir.alike(queries, answered)
    return answers if several else answers[0]


def _maps(t: Tracer, x: ValueTree, what: str) -> list[Value]:
    """The members of a list, or one value, with channels last. Raises SpecError if they differ in width."""
    values = [t.ir.cast(single(item), "grid") for item in (x if isinstance(x, (list, tuple)) else [x])]
    if not values:
        raise error(f"there are no {what}", hint="give at least one map")
    if any(value.c != values[0].c for value in values):
        widths = " and ".join(str(value.c) for value in values)
        raise error(f"the {what} are {widths} wide", hint="bring them to one width: they are projected alike")
    return values
