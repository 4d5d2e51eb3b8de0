"""Layouts: by which expression a value goes from one layout to another, and how two shapes meet. Rules on shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from ..errors import error
from ..shape import Feature, Layout

_PREFIX = "write `join(prefix, patches >> ...)` to lead the prefix tokens around it, or `patches >> ...` to drop them"


class Cast(NamedTuple):
    """One step from a layout to another: the expression (``{0}`` is the value), and the shape it leads to."""

    template: str
    feature: Feature


def casts(feature: Feature, layouts: Sequence[Layout]) -> list[Cast]:
    """The steps that bring a value into one of these layouts: none if it fits, else to the first that can be reached.

    Raises SpecError where none can be reached.
    """
    if feature.layout in layouts:
        return []
    for wanted in layouts:
        steps = _route(feature, wanted)
        if steps is not None:
            return steps
    wanted = layouts[-1]
    raise error(f"a {_name(wanted)} is needed here, this is {_article(feature)} {feature}", hint=_hint(feature, wanted))


def _route(f: Feature, wanted: Layout) -> list[Cast] | None:
    """The steps to one layout, by way of the grid; None if there is no way."""
    spatial = ("map", "grid", "tokens")
    if f.layout not in spatial or wanted not in spatial:
        return None
    steps = []
    grid = f.with_(layout="grid")
    if f.layout == "map":
        steps.append(Cast("{0}.movedim(1, -1)", grid))
    elif f.layout == "tokens":
        if f.prefix:
            raise error(f"{f.prefix} prefix token(s) have no place on a map", hint=_PREFIX)
        # In one dimension tokens are a grid already.
        steps.append(Cast(f"{{0}}.unflatten(1, {f.grid})" if f.rank > 1 else "{0}", grid))
    if wanted == "map":
        steps.append(Cast("{0}.movedim(-1, 1)", f.with_(layout="map")))
    elif wanted == "tokens":
        steps.append(Cast(f"{{0}}.flatten(1, {f.rank})", f.with_(layout="tokens")))
    return steps


def repeats(feature: Feature, around: tuple[tuple[int, ...], ...]) -> int | None:
    """How often a value is repeated to stand in each of these windows; None if it stands there already, or has no batch."""
    if feature.around == around or feature.layout == "table":
        return None
    if around[: len(feature.around)] != feature.around:
        raise error(f"{feature.windows} windows an image meet {prod(map(prod, around))}", hint="take both from the same windows")
    return prod(map(prod, around[len(feature.around) :]))


def becomes_vector(a: Feature, b: Feature) -> bool:
    """Whether a single token ``a`` is a vector where it meets ``b``, which has other axes."""
    if a.layout not in ("map", "grid", "tokens") or b.layout in ("vector", "table", "order") or a.n > 1:
        return False
    if a.rank == b.rank and (a.layout == b.layout or b.n == 1):
        return False
    return not a.layout == b.layout == "tokens"  # (b, 1, c) and (b, n, c), whatever grid the n have


def meeting_layout(a: Feature, b: Feature) -> Layout:
    """The layout in which two spatial values meet: the left one's, unless only tokens can hold a prefix."""
    if a.layout != b.layout and ((a.prefix > 0) != (b.prefix > 0) or a.layout == "tokens"):
        return "tokens"
    return a.layout


def elementwise(op: str, a: Feature, b: Feature) -> Cast:
    """``a op b`` with a vector, or a single channel, spread over the other side. Raises SpecError for shapes that do not meet."""
    if a.layout == "vector" and b.layout != "vector":
        return Cast(f"{_view(b, '{0}')} {op} {{1}}", _met(b, a))
    if b.layout == "vector" and a.layout != "vector":
        return Cast(f"{{0}} {op} {_view(a, '{1}')}", _met(a, b))
    return Cast(f"{{0}} {op} {{1}}", _met(a, b))


def _met(a: Feature, b: Feature) -> Feature:
    vector = "vector" in (a.layout, b.layout)
    if not vector and (a.grid, a.prefix) != (b.grid, b.prefix) and not (a.n == 1 or b.n == 1):
        hint = "both sides must have the same extents; change a stride, or give `skip=`"
        raise error(f"two shapes do not meet: {a} and {b}", hint=hint)
    if a.c != b.c and 1 not in (a.c, b.c):
        hint = "both sides must have the same width; end one with `linear(c)`, or give `skip=`"
        raise error(f"two widths do not meet: {a} and {b}", hint=hint)
    wide = a if vector or a.n >= b.n else b
    return wide.with_(c=max(a.c, b.c))


def _view(feature: Feature, text: str) -> str:
    """A vector as something that broadcasts over a value of this shape."""
    if feature.layout == "map":
        return f"{text}[(...,) + (None,) * {feature.rank}]"
    axes = feature.rank if feature.layout == "grid" else 1
    return f"{text}.unflatten(0, (-1,{' 1,' * axes}))"


def concatenation(features: Sequence[Feature]) -> Cast:
    """Channels side by side, of values in one layout. Raises SpecError for other extents."""
    first = features[0]
    for other in features[1:]:
        if (other.grid, other.prefix) != (first.grid, first.prefix):
            raise error(f"{first} and {other} cannot be concatenated", hint="they need the same extents")
    names = ", ".join(f"{{{i}}}" for i in range(len(features)))
    return Cast(f"torch.cat([{names}], dim={channel_axis(first)})", first.with_(c=sum(f.c for f in features)))


def channel_axis(feature: Feature) -> int:
    """The tensor's axis of channels."""
    return 1 if feature.layout in ("map", "vector") else -1


def _name(layout: Layout) -> str:
    return {"grid": "grid of tokens", "tokens": "sequence of tokens"}.get(layout, layout)


def _article(feature: Feature) -> str:
    return "an" if feature.layout == "order" else "a"


def _hint(feature: Feature, wanted: Layout) -> str | None:
    if feature.layout == "order":
        return "`tokens >> reorder(order)` puts tokens in an order"
    if feature.layout == "vector":
        return "the spatial extents are gone here (after `global_pool` or `take`)"
    if wanted == "vector":
        return "a vector comes from `global_pool` or `take(0)`"
    return None
