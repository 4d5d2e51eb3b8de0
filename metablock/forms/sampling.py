"""Reading a map at places that a network computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Module
from ..lowering.ir import Value, ValueTree, single
from ..operators.extents import KINDS
from .positions import pair_around

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def sample(t: Tracer, x: ValueTree, *, at: Module, kind: str = "index", padding: str = "zeros") -> ValueTree:
    """A map read at places that a module computes, linearly between pixels: bilinear in two dimensions.

    A place is a channel an axis of the map, in its order (y before x), counted as ``coordinates(kind)`` counts:
    ``sample(coordinates)`` gives the map back, ``sample(coordinates + pw(2))`` reads beside each pixel, by an offset in pixels.

    Args:
        at: the places, applied to the map: any number of them, a map or tokens. Of several places a position (``2 * rank``
            channels are two) each reads its own of as many consecutive groups of channels.
        kind: what the coordinates are, as of ``coordinates``: on an axis of ``n`` pixels ``"index"``: 0 ... n - 1. ``"unit"``: 0
            and 1 are the first and the last pixel. ``"signed"``: -1 and 1 are (``align_corners=True`` of torch's
            ``grid_sample``). ``"centers"``: 0 and 1 are the outer edges of these. ``"signed_centers"``: -1 and 1 are
            (``align_corners=False``).
        padding: what lies outside: ``"zeros"``, or at each place the nearest pixel of the ``"border"``.

    Returns:
        The layout and extents of ``at``, with the channels of the map.

    Raises:
        SpecError: channels of ``at`` that are no places on the axes of the map, or whose groups do not divide its width; prefix
            tokens; another word for ``kind`` or ``padding``.

    Spatial transformers, Jaderberg et al. 2015, Eq. 5 (arXiv 1506.02025); deformable attention of DAT, Xia et al. 2022, Eq. 3
    (arXiv 2201.00520).

    >>> shape_of("sample(coordinates + pw(2))", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of('sample(conv(8, 3, stride=2) >> tanh, "signed")', "64x14x14")
    'map 64 x 7x7'
    """
    value = t.ir.cast(single(x), "map")
    places = places_of(t, at, value, "at")
    value, tokens = t.ir.together(value, t.ir.cast(places, "grid", "tokens"))
    read = t.ir.call("sample.Sample", "sample", [value, tokens], kind=kind, padding=padding)
    return t.ir.cast(read, "map") if places.feature.layout == "map" else read


def moving_bias(
    t: Tracer, x: ValueTree, *, at: Module, kind: str = "index", queries: Module | None = None, std: float = 0.02
) -> ValueTree:
    """In ``pos=`` of attention: the learned bias of ``relative_bias`` where keys stand between the places of the queries' grid.

    A table has a number for each head and offset on the grid of the queries; it is read at query minus key, linearly between
    offsets along each axis. Beyond the largest offset the bias falls to 0 within one place.

    Args:
        at: where the keys stand, as of :func:`sample`: a token a key and a channel an axis, applied to the queries. Several
            places of a token are for as many groups of consecutive heads.
        kind: what these coordinates are, as of ``coordinates``, on the queries' grid.
        queries: where the queries stand, in the same coordinates: by default ``coordinates(kind)``, their own places.
        std: standard deviation of the initial values (truncated normal).

    Returns:
        A map with a channel a head on the extents (queries, keys).

    Raises:
        SpecError: outside ``pos=`` of attention; with ``near``; prefix tokens; places that are not as many as the keys or
            queries, or whose groups do not divide the heads; another word for ``kind``.

    DAT, Xia et al. 2022, Eq. 8 (arXiv 2201.00520).

    >>> shape_of("x -> p = x >> coordinates + pw(2) return x >> attention(4, over=sample(p), pos=moving_bias(p))", "64x14x14")
    'tokens 14x14 x 64'
    """
    pair = pair_around(t, "moving_bias")
    q = pair.queries.feature
    if pair.near is not None:
        raise error("`moving_bias` is not for neighbours", hint="`relative_bias` has a number for each of them")
    if q.prefix or pair.keys.feature.prefix:
        hint = "use it without prefix tokens: they have no place"
        raise error(f"`moving_bias` needs queries and keys at places, here {q} and {pair.keys.feature}", hint=hint)
    if kind not in KINDS:
        raise error(f'unknown kind "{kind}"', hint="known: " + ", ".join(f'"{word}"' for word in KINDS))
    if queries is None:
        own = t.ir.call("waves.Coordinates", "coordinates", [pair.queries], kind=kind)
    else:
        own = t.ir.cast(places_of(t, queries, pair.queries, "queries"), "grid", "tokens")
    keys = t.ir.cast(places_of(t, at, pair.queries, "at"), "grid", "tokens")
    own, keys, _ = t.ir.together(own, keys, pair.queries)
    for value, n, whose, name in ((own, q.n, "queries", "queries"), (keys, pair.keys.feature.n, "keys", "at")):
        if value.feature.n != n:
            raise error(f"`{name}=` gives {value.feature} for {n} {whose}", hint="a token for each of them")
    groups = keys.c // q.rank
    if own.c != q.rank or keys.c % q.rank or pair.heads % groups:
        several = f"{pair.heads} heads, {q.rank} axes"
        raise error(
            f"places of {keys.c} channels, of the queries {own.c}: {several}", at.span, "a channel an axis, for groups of heads"
        )
    shape = q.with_(layout="map", c=pair.heads, grid=(q.n, pair.keys.feature.n))
    return t.ir.call("moving_bias.MovingBias", "table", [keys, own], shape, grid=q.grid, heads=pair.heads, kind=kind, std=std)


def places_of(t: Tracer, at: Module, x: ValueTree, name: str) -> Value:
    """What an argument of this name computes. Raises SpecError for what has no positions, or prefix tokens."""
    places = single(t.apply(at, x))
    f = places.feature
    if f.layout not in ("map", "grid", "tokens") or f.prefix:
        raise error(f"`{name}=` gives {f}, places are a map or tokens", at.span, "a channel an axis: `coordinates + pw(2)`")
    return places
