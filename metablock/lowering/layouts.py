"""Conversions between layouts, and values that meet: sums, products, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from math import prod
from typing import Any

from ..errors import error
from ..shape import Feature, Layout
from .ir import InlineOp, Subgraph, Value

_PREFIX = "write `join(prefix, patches >> ...)` to lead the prefix tokens around it, or `patches >> ...` to drop them"


class Combiner:
    """Emits steps that need no module into the level being traced."""

    def __init__(self, first: int = 0) -> None:
        self._ids = count(first)
        self._levels: list[Subgraph] = []
        self.level = self.fresh()
        self._converted: dict[tuple[int, int, str], Value] = {}

    def fresh(self, **given: Any) -> Subgraph:
        """A new level. All are kept, also those that are dissolved: what is known of a level stands under its identity."""
        self._levels.append(Subgraph(**given))
        return self._levels[-1]

    def wire(self, feature: Feature) -> Value:
        """A fresh value."""
        return Value(next(self._ids), feature)

    def do(self, template: str, inputs: Sequence[Value], feature: Feature) -> Value:
        """A step that is an expression: ``do("{0} + {1}", [a, b], a.feature)``."""
        output = self.wire(feature)
        self.level.steps.append(InlineOp(template, tuple(inputs), output))
        return output

    def to(self, wire: Value, *layouts: Layout) -> Value:
        """The value in one of these layouts: as it is if it fits, else converted to the first that can be reached."""
        if wire.feature.layout in layouts:
            return wire
        key = (id(self.level), wire.id, layouts[0])
        if key not in self._converted:
            self._converted[key] = self._convert(wire, layouts)
        return self._converted[key]

    def _convert(self, wire: Value, layouts: tuple[Layout, ...]) -> Value:
        f, wanted = wire.feature, layouts[0]
        pair = (f.layout, wanted)
        if pair == ("map", "grid"):
            return self.do("{0}.movedim(1, -1)", [wire], f.with_(layout="grid"))
        if pair == ("grid", "map"):
            return self.do("{0}.movedim(-1, 1)", [wire], f.with_(layout="map"))
        if wanted == "tokens" and f.layout in ("map", "grid"):
            grid = self.to(wire, "grid")
            return self.do(f"{{0}}.flatten(1, {f.rank})", [grid], f.with_(layout="tokens"))
        if f.layout == "tokens" and wanted in ("map", "grid"):
            if f.prefix:
                raise error(f"{f.prefix} prefix token(s) have no place on a map", hint=_PREFIX)
            grid = self.do(f"{{0}}.unflatten(1, {f.grid})", [wire], f.with_(layout="grid")) if f.rank > 1 else self._as_grid(wire)
            return self.to(grid, wanted)
        if len(layouts) > 1:
            return self._convert(wire, layouts[1:])
        raise error(f"a {_name(wanted)} is needed here, this is {_article(f)} {f}", hint=_hint(f, wanted))

    def _as_grid(self, wire: Value) -> Value:
        """In one dimension tokens are a grid already."""
        return self.do("{0}", [wire], wire.feature.with_(layout="grid"))

    def together(self, *parts: Value) -> list[Value]:
        """These values in the same windows: one from outside comes once for each window of its image."""
        around = max((part.feature.around for part in parts), key=len)
        return [self._spread(part, around) for part in parts]

    def _spread(self, wire: Value, around: tuple[tuple[int, ...], ...]) -> Value:
        f = wire.feature
        if f.around == around or f.layout == "table":
            return wire
        if around[: len(f.around)] != f.around:
            raise error(f"{f.windows} windows an image meet {prod(map(prod, around))}", hint="take both from the same windows")
        times = prod(map(prod, around[len(f.around) :]))
        return self.do(f"{{0}}.repeat_interleave({times}, dim=0)", [wire], f.with_(around=around))

    def binary(self, op: str, left: Value, right: Value) -> Value:
        """``left op right``, one an element; a vector, or a single channel, is spread over the other side."""
        left, right = self.together(left, right)
        left, right = self._alone(left, right, right.feature.n > 1), self._alone(right, left, True)
        if left.feature.layout == "vector" and right.feature.layout != "vector":
            return self.do(f"{self._view(right.feature, '{0}')} {op} {{1}}", [left, right], self._met(right, left))
        if right.feature.layout == "vector" and left.feature.layout != "vector":
            return self.do(f"{{0}} {op} {self._view(left.feature, '{1}')}", [left, right], self._met(left, right))
        if left.feature.layout != right.feature.layout:
            left, right = self._meet(left, right)
        return self.do(f"{{0}} {op} {{1}}", [left, right], self._met(left, right))

    def _alone(self, wire: Value, other: Value, yields: bool) -> Value:
        """A single token, as a vector where it meets what has other axes."""
        a, b = wire.feature, other.feature
        if a.layout not in ("map", "grid", "tokens") or b.layout in ("vector", "table", "order") or a.n > 1 or not yields:
            return wire
        if a.rank == b.rank and (a.layout == b.layout or b.n == 1):
            return wire
        if a.layout == b.layout == "tokens":  # (b, 1, c) and (b, n, c), whatever grid the n have
            return wire
        return self.do("{0}.flatten(1)", [wire], a.with_(layout="vector", grid=(), prefix=0))

    def _meet(self, left: Value, right: Value) -> tuple[Value, Value]:
        """Both sides in one layout: the left one's, unless only the right one can hold the prefix tokens."""
        if (left.feature.prefix > 0) != (right.feature.prefix > 0) or left.feature.layout == "tokens":
            return self.to(left, "tokens"), self.to(right, "tokens")
        return left, self.to(right, left.feature.layout)

    def _met(self, left: Value, right: Value) -> Feature:
        a, b = left.feature, right.feature
        vector = "vector" in (a.layout, b.layout)
        if not vector and (a.grid, a.prefix) != (b.grid, b.prefix) and not (a.n == 1 or b.n == 1):
            raise error(
                f"two shapes do not meet: {a} and {b}",
                hint="both sides must have the same extents; change a stride, or give `skip=`",
            )
        if a.c != b.c and 1 not in (a.c, b.c):
            raise error(
                f"two widths do not meet: {a} and {b}",
                hint="both sides must have the same width; end one with `linear(c)`, or give `skip=`",
            )
        wide = a if vector or a.n >= b.n else b
        return wide.with_(c=max(a.c, b.c))

    def _view(self, feature: Feature, text: str) -> str:
        if feature.layout == "map":
            return f"{text}[(...,) + (None,) * {feature.rank}]"
        axes = feature.rank if feature.layout == "grid" else 1
        return f"{text}.unflatten(0, (-1,{' 1,' * axes}))"

    def concat(self, parts: Sequence[Value]) -> Value:
        """Channels side by side."""
        if len(parts) == 1:
            return parts[0]
        first, *others = self.together(*parts)
        aligned = [first]
        for part in others:
            if part.feature.layout != first.feature.layout:
                part = self.to(part, first.feature.layout)
            if (part.feature.grid, part.feature.prefix) != (first.feature.grid, first.feature.prefix):
                raise error(f"{first.feature} and {part.feature} cannot be concatenated", hint="they need the same extents")
            aligned.append(part)
        axis = 1 if first.feature.layout in ("map", "vector") else -1
        names = ", ".join(f"{{{i}}}" for i in range(len(aligned)))
        return self.do(f"torch.cat([{names}], dim={axis})", aligned, first.feature.with_(c=sum(part.c for part in aligned)))

    def channels(self, wire: Value, sizes: Sequence[int]) -> list[Value]:
        """Channels divided into parts of these sizes."""
        f = wire.feature
        if sum(sizes) != f.c:
            raise error(
                f"parts of {' + '.join(map(str, sizes))} = {sum(sizes)} channels, {f.c} arrive", hint="the sizes must add up"
            )
        axis = 1 if f.layout in ("map", "vector") else -1
        outputs = [self.wire(f.with_(c=size)) for size in sizes]
        self.level.steps.append(InlineOp(f"{{0}}.split({list(sizes)}, dim={axis})", (wire,), outputs))
        return outputs

    def take_tokens(self, wire: Value, start: int, stop: int, *, prefix: int = 0, grid: tuple[int, ...]) -> Value:
        """A range of tokens, as tokens."""
        tokens = self.to(wire, "tokens")
        shape = tokens.feature.with_(prefix=prefix, grid=grid)
        assert prefix + prod(grid) == stop - start
        return self.do(f"{{0}}[:, {start or ''}:{stop if stop < tokens.feature.n else ''}]", [tokens], shape)


def _name(layout: str) -> str:
    return {"grid": "grid of tokens", "tokens": "sequence of tokens"}.get(layout, layout)


def _article(feature: Feature) -> str:
    return "an" if feature.layout == "order" else "a"


def _hint(feature: Feature, wanted: str) -> str | None:
    if feature.layout == "order":
        return "`tokens >> reorder(order)` puts tokens in an order"
    if feature.layout == "vector":
        return "the spatial extents are gone here (after `global_pool` or `take`)"
    if wanted == "vector":
        return "a vector comes from `global_pool` or `take(0)`"
    return None
