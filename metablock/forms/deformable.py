"""Deformable attention: each query reads a few places, which it predicts, of maps of several sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import error
from ..lowering.arguments import Expr, Module
from ..lowering.ir import Value, ValueTree, single
from .padding import valid_share

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
    at: Expr | None = None,
    mask: Expr | None = None,
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
        at: where the queries stand, by default on their own grid: a wire with two channels, x and y from 0 to 1, or four, boxes
            of x, y, width and height: what is read lies around a place, or in parts of the box around it. Queries may be a
            sequence.
        mask: a channel for each map of values, 1 where the picture is, 0 where it is padding: values there count as 0, and places
            are parts of the picture, whose extents are counted on the first row and the first column.

    Returns:
        The queries' grid, channels last. For a list of maps as queries a list: each is answered by the same weights.

    Raises:
        SpecError: heads or points below 1; heads that do not divide the width of the values; maps of several widths, or not in
            two dimensions; no values; ``at`` with other queries or for a list; masks of other extents than the maps; with
            ``mask`` and without ``at`` queries on other grids than the values.

    Deformable DETR, Zhu et al. 2021, Eq. 3 and Appendix A.4 (arXiv 2010.04159).

    >>> shape_of("deformable(4, over=[id, avg_pool(2, stride=2)])", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("[id, avg_pool(2, stride=2)] >> deformable(4)", "64x14x14")
    '[tokens 14x14 x 64, tokens 7x7 x 64]'
    >>> shape_of("x -> q = learned(10, 64) return q >> deformable(4, over=x, at=q >> linear(2) >> sigmoid)", "64x14x14")
    'tokens 10 x 64'
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
    masks = _masks(t, mask, x, maps)
    shares = [valid_share(t, each, reverse=True) for each in masks]
    places = _places(t, at, x, several)

    def valued(value: Value) -> Value:
        return t.ir.call("linear", "v", [value], out=width) if v is None else t.ir.cast(single(t.apply(v, value)), "grid")

    values = t.ir.alike(maps, valued)
    if masks:
        values = [t.ir.binary("*", value, each) for value, each in zip(values, masks, strict=True)]
    own: list[list[Value]] = [[] for _ in queries]
    if masks and not places:
        if [value.feature.grid for value in queries] != [value.feature.grid for value in maps]:
            raise error("queries on other grids than the masks", mask.span if mask else None, "`at=` says where they stand")
        own = [[share] for share in shares]
    levels: dict[str, Any] = {"levels": len(values), "placed": bool(places), "shared": bool(masks)}

    def answered(x: ValueTree) -> Value:
        value, *rest = x
        inputs = [value, *places, *values, *shares, *rest]
        read = t.ir.call("attend_deformable.AttendDeformable", "attend", inputs, heads=heads, points=points, **levels)
        return t.ir.call("linear", "proj", [read], out=value.c) if proj is None else single(t.apply(proj, read))

    members = [[value, *rest] for value, rest in zip(queries, own, strict=True)]
    if len(members) == 1:
        answers = [answered(members[0])]
    else:
        owner = t.now.draft.subgraph
        answers = [t.ir.reuse(owner, (), answered, member, members[0], None) for member in members]
    return answers if several else answers[0]


def _masks(t: Tracer, mask: Expr | None, x: ValueTree, maps: list[Value]) -> list[Value]:
    """The mask of each map of values; none without ``mask=``. Raises SpecError if they do not belong to the maps."""
    source = None if mask is None else t.apply(mask, x)
    if mask is None or source is None:
        return []
    masks = [t.ir.cast(single(item), "grid") for item in (source if isinstance(source, (list, tuple)) else [source])]
    if [(one.c, one.feature.grid) for one in masks] != [(1, value.feature.grid) for value in maps]:
        shown, wanted = (" and ".join(str(one.feature) for one in each) for each in (masks, maps))
        hint = 'one channel on the grid of each map: `image.valid >> resize_like(x, mode="nearest")`'
        raise error(f"the masks of {wanted} are {shown}", mask.span, hint)
    return masks


def _places(t: Tracer, at: Expr | None, x: ValueTree, several: bool) -> list[Value]:
    """Where the queries stand; none without ``at=``."""
    if at is None:
        return []
    if several:
        raise error("`at=` is of one set of queries, a list arrives", at.span, "leave it out: each stands on its own grid")
    return [t.ir.cast(single(t.apply(at, x)), "grid")]


def _maps(t: Tracer, x: ValueTree, what: str) -> list[Value]:
    """The members of a list, or one value, with channels last. Raises SpecError if they differ in width."""
    values = [t.ir.cast(single(item), "grid") for item in (x if isinstance(x, (list, tuple)) else [x])]
    if not values:
        raise error(f"there are no {what}", hint="give at least one map")
    if any(value.c != values[0].c for value in values):
        widths = " and ".join(str(value.c) for value in values)
        raise error(f"the {what} are {widths} wide", hint="bring them to one width: they are projected alike")
    return values
