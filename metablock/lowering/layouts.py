"""Layout casts and broadcasting: which expression takes a value to another layout, and how two shapes meet. Shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from ..errors import error
from ..shape import Feature, Layout

_PREFIX = "write `join(prefix, patches >> ...)` to lead the prefix tokens around it, or `patches >> ...` to drop them"


class Cast(NamedTuple):
    """An expression on tensors and the shape of its result.

    Attributes:
        template: the expression; ``{0}``, ``{1}`` ... stand for the values.
        feature: the shape of what it computes.
    """

    template: str
    feature: Feature


def casts(feature: Feature, layouts: Sequence[Layout]) -> list[Cast]:
    """The expressions that take a value to one of several layouts, one after the other.

    Args:
        feature: the value's shape.
        layouts: the layouts wanted. If the value is in none of them, it goes to the first that it can reach.

    Returns:
        The steps; none if the value is in one of the layouts already.

    Raises:
        SpecError: the value reaches none of them: a vector has no extents, prefix tokens have no place on a map.

    >>> casts(Feature("map", 8, (4, 4)), ["map", "grid"])
    []
    >>> for step in casts(Feature("map", 8, (4, 4)), ["tokens"]):
    ...     print(step.template, "->", step.feature.size(2))
    {0}.movedim(1, -1) -> (2, 4, 4, 8)
    {0}.flatten(1, 2) -> (2, 16, 8)
    """
    if feature.layout in layouts:
        return []
    for wanted in layouts:
        steps = _route(feature, wanted)
        if steps is not None:
            return steps
    check_channels(feature)
    wanted = layouts[-1]
    raise error(f"a {_name(wanted)} is needed here, this is {_article(feature)} {feature}", hint=_hint(feature, wanted))


def _route(f: Feature, wanted: Layout) -> list[Cast] | None:
    """The steps to one layout, by way of ``grid``; None if the layouts do not convert into each other."""
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
        # In one dimension, tokens without a prefix have the shape of a grid.
        # The first extent is left open: the code is the same for every size that differs in it alone.
        steps.append(Cast(f"{{0}}.unflatten(1, {(-1, *f.grid[1:])})" if f.rank > 1 else "{0}", grid))
    if wanted == "map":
        steps.append(Cast("{0}.movedim(-1, 1)", f.with_(layout="map")))
    elif wanted == "tokens":
        steps.append(Cast(f"{{0}}.flatten(1, {f.rank})", f.with_(layout="tokens")))
    return steps


def repeats(feature: Feature, around: tuple[tuple[int, ...], ...]) -> int | None:
    """How many windows each item of a value's batch is repeated for.

    Args:
        feature: the value's shape.
        around: the windows that it meets, as ``Feature.around`` has them.

    Returns:
        The number of repeats; None if the value is in these windows already, or has no batch (a ``table``).

    Raises:
        SpecError: the value is in other windows.

    >>> repeats(Feature("vector", 8), ((2, 3),))
    6
    """
    if feature.around == around or feature.layout == "table":
        return None
    if around[: len(feature.around)] != feature.around:
        raise error(f"{feature.windows} windows an image meet {prod(map(prod, around))}", hint="take both from the same windows")
    return prod(map(prod, around[len(feature.around) :]))


def becomes_vector(a: Feature, b: Feature) -> bool:
    """Whether ``a``, if it is a single token, has to become a vector to meet ``b``, which has other axes or is a vector.

    >>> pooled = Feature("map", 8, (1, 1))
    >>> becomes_vector(pooled, Feature("grid", 8, (4, 4))), becomes_vector(pooled, Feature("map", 8, (4, 4)))
    (True, False)
    """
    if a.layout not in ("map", "grid", "tokens") or b.layout in ("table", "order") or a.n > 1:
        return False
    if b.layout == "vector":
        return a.layout == "tokens" and not a.prefix  # a learned token; a map of one pixel stays a map
    if a.rank == b.rank and (a.layout == b.layout or b.n == 1):
        return False
    return not a.layout == b.layout == "tokens"  # (b, 1, c) and (b, n, c), whatever grid the n have


def meeting_layout(a: Feature, b: Feature) -> Layout:
    """The layout in which two spatial values meet: that of ``a``, or ``tokens`` if one of them has prefix tokens.

    >>> meeting_layout(Feature("grid", 8, (4, 4)), Feature("tokens", 8, (4, 4), prefix=1))
    'tokens'
    """
    if a.layout != b.layout and ((a.prefix > 0) != (b.prefix > 0) or a.layout == "tokens"):
        return "tokens"
    return a.layout


def elementwise(op: str, a: Feature, b: Feature) -> Cast:
    """``a op b``, element by element; a vector, a single token or a single channel broadcasts over the other side.

    Args:
        op: Python's operator, ``+``, ``-``, ``*``, or the name of torch's function: ``maximum``.
        a, b: two shapes in one layout, or one of them a vector.

    Raises:
        SpecError: the extents or the widths differ.

    >>> template, feature = elementwise("*", Feature("grid", 8, (4, 4)), Feature("vector", 8))
    >>> template, str(feature)
    ('{0} * {1}.unflatten(0, (-1, 1, 1,))', 'tokens 4x4 x 8')
    """
    if a.layout == "vector" and b.layout != "vector":
        return Cast(_written(op, _view(b, "{0}"), "{1}"), _met(b, a))
    if b.layout == "vector" and a.layout != "vector":
        return Cast(_written(op, "{0}", _view(a, "{1}")), _met(a, b))
    return Cast(_written(op, "{0}", "{1}"), _met(a, b))


def _written(op: str, a: str, b: str) -> str:
    """An operator between its sides, or a function of torch with its arguments."""
    return f"torch.{op}({a}, {b})" if op.isidentifier() else f"{a} {op} {b}"


def check_meeting(a: Feature, b: Feature) -> None:
    """Raises SpecError if two values cannot be combined element by element, in whatever layouts: their extents or widths differ.

    >>> check_meeting(Feature("map", 8, (4, 4)), Feature("grid", 8, (4, 4)))
    """
    check_channels(a, b)
    vector = "vector" in (a.layout, b.layout)
    if not vector and (a.grid, a.prefix) != (b.grid, b.prefix) and not (a.n == 1 or b.n == 1):
        hint = apart(a, b) or "both sides must have the same extents; change a stride, or give `skip=`"
        raise error(f"two shapes do not meet: {a} and {b}", hint=hint)
    if a.c != b.c and 1 not in (a.c, b.c):
        remedy = f"end the second with `linear({a.c})` (in an argument, `c` is the width that enters it), or give `skip=`"
        raise error(f"two widths do not meet: {a} and {b}", hint=f"both sides must have the same width; {remedy}")


def check_channels(*features: Feature) -> None:
    """Raises SpecError for ids: they are numbers of rows, and nothing is computed with them.

    >>> check_channels(Feature("map", 8, (4, 4)), Feature("vector", 8))
    """
    for feature in features:
        if feature.layout == "ids":
            raise error(f"{feature} have no channels", hint="`embedding(64)` gives each id its channels")


def _met(a: Feature, b: Feature) -> Feature:
    """The shape of ``a op b``."""
    check_meeting(a, b)
    wide = a if "vector" in (a.layout, b.layout) or a.n >= b.n else b
    return wide.with_(c=max(a.c, b.c))


def apart(a: Feature, b: Feature) -> str | None:
    """What keeps two values apart of which one has a grid and the other stands in a row; None where that is not so.

    >>> row = Feature("tokens", 8, (16,), ungridded="`learned(16, 8)` at line 3 has no grid")
    >>> apart(Feature("map", 8, (4, 4)), row)
    '`learned(16, 8)` at line 3 has no grid: `>> grid(4, 4)` gives it one'
    >>> apart(Feature("map", 8, (4, 4)), Feature("map", 8, (2, 2)))
    """
    row, over = (a, b) if a.rank < b.rank else (b, a)
    if row.rank != 1 or over.rank < 2:
        return None
    why = row.ungridded or "one side has no grid"
    if row.grid[0] == prod(over.grid):
        return f"{why}: `>> grid({', '.join(map(str, over.grid))})` gives it one"
    return f"{why}, and {row.grid[0]} tokens in a row have no place on the other's {'x'.join(map(str, over.grid))}"


def dropped(feature: Feature) -> str:
    """Which operator dropped the grid of a value, behind a hint: ``; `first(4)` at line 3 dropped the grid``, or nothing.

    >>> dropped(Feature("map", 8, (4, 4)))
    ''
    """
    return f"; {feature.ungridded}" if feature.ungridded is not None and feature.rank < 2 else ""


def _view(feature: Feature, text: str) -> str:
    """The expression that gives a vector the axes to broadcast over a value of this shape."""
    if feature.layout == "map":
        return f"{text}[(...,) + (None,) * {feature.rank}]"
    axes = feature.rank if feature.layout == "grid" else 1
    return f"{text}.unflatten(0, (-1,{' 1,' * axes}))"


def spread(vector: Feature, over: Feature) -> Cast:
    """A vector at every position of a value ``over``: ``{0}`` is the vector, ``{1}`` the value.

    >>> spread(Feature("vector", 3), Feature("map", 8, (4, 4))).template
    '{0}[(...,) + (None,) * 2].expand(-1, -1, {1}.shape[2], {1}.shape[3])'
    """
    first = 2 if over.layout == "map" else 1
    axes = over.rank if over.layout in ("map", "grid") else 1
    extents = [f"{{1}}.shape[{axis}]" for axis in range(first, first + axes)]
    sizes = ["-1", "-1", *extents] if over.layout == "map" else ["-1", *extents, "-1"]
    return Cast(f"{_view(over, '{0}')}.expand({', '.join(sizes)})", over.with_(c=vector.c))


def concatenation(features: Sequence[Feature]) -> Cast:
    """The channels of several values in one layout, side by side. Raises SpecError if their extents differ.

    >>> template, feature = concatenation([Feature("map", 8, (4, 4)), Feature("map", 2, (4, 4))])
    >>> template, str(feature)
    ('torch.cat([{0}, {1}], dim=1)', 'map 10 x 4x4')
    """
    first = features[0]
    for other in features[1:]:
        check_beside(first, other)
    names = ", ".join(f"{{{i}}}" for i in range(len(features)))
    return Cast(f"torch.cat([{names}], dim={channel_axis(first)})", first.with_(c=sum(f.c for f in features)))


def check_beside(a: Feature, b: Feature) -> None:
    """Raises SpecError if the channels of two values cannot stand side by side, in whatever layouts: their extents differ.

    >>> check_beside(Feature("map", 8, (4, 4)), Feature("grid", 2, (4, 4)))
    """
    check_channels(a, b)
    if (a.grid, a.prefix) != (b.grid, b.prefix):
        hint = apart(a, b) or "they need the same extents"
        raise error(f"{a} and {b} cannot be concatenated", hint=hint)


def channel_axis(feature: Feature) -> int:
    """The axis of the channels in a tensor of this shape: 1, or -1 where they come last. Raises SpecError for ids."""
    check_channels(feature)
    return 1 if feature.layout in ("map", "vector") else -1


def _name(layout: Layout) -> str:
    return {"grid": "grid of tokens", "tokens": "sequence of tokens", "ids": "sequence of ids"}.get(layout, layout)


def _article(feature: Feature) -> str:
    return "an" if feature.layout == "order" else "a"


def _hint(feature: Feature, wanted: Layout) -> str | None:
    if wanted == "ids":
        return "ids are an input: `input: tokens(512, 1024)`"
    if feature.layout == "order":
        return "`tokens >> reorder(order)` puts tokens in an order"
    if feature.layout == "vector":
        return f"a vector has no extents: {feature.ungridded or 'they end at `global_pool`, `take` or `flatten`'}"
    if wanted == "vector":
        return "a vector comes from `global_pool` or `take(0)`"
    return None
