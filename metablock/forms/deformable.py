"""Attention to a few places, predicted by the query, of maps of several sizes."""

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
    """Multi-scale deformable attention: each query and head reads ``points`` places of every map of values, around its own.

    Where it reads, and how much it takes from each place, are linear maps of the query (arXiv 2010.04159). Queries may be a list
    of maps too: each map is answered by the same weights, and a list leaves.

    Args:
        heads: number of heads: consecutive groups of channels.
        over: what the values are made of, applied to what arrives: a map, or a list of maps of any extents; by default the
            queries themselves.
        points: places a head and map.
        ratio: width of the values, relative to that of the queries.
        v: projection of the values, one for all maps; by default a biased linear map.
        proj: the last projection, by default a biased linear map to the width that arrived.
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


def _maps(t: Tracer, value: ValueTree, what: str) -> list[Value]:
    """All of one width, channels last."""
    values = [t.ir.cast(single(item), "grid") for item in (value if isinstance(value, (list, tuple)) else [value])]
    if not values:
        raise error(f"there are no {what}", hint="give at least one map")
    if any(wire.c != values[0].c for wire in values):
        widths = " and ".join(str(wire.c) for wire in values)
        raise error(f"the {what} are {widths} wide", hint="bring them to one width: they are projected alike")
    return values
