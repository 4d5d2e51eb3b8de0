"""Tokens chosen, put in another order, and back where they were (MAE, arXiv 2111.06377; CF-ViT, arXiv 2203.03821).

::

    order = noise >> argsort
    x = x >> reorder(order) >> first(keep) >> encoder
    y = x >> restore(order, fill=learned(1))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr, Module
from ..lowering.ir import Value, ValueTree

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

_SCORES = "`argsort` makes an order of scores: `order = scores >> argsort`"


def argsort(t: Tracer, x: ValueTree, *, descending: bool = False) -> ValueTree:
    """The order of the tokens by their scores, one channel: ``(b, N, 1)``, the number of the token that comes first, second ...

    Equal scores keep their order. An order remembers the grid, for ``restore``.
    """
    wire = _plain(t, x, "argsort")
    if wire.c != 1:
        raise error(f"tokens are ordered by one score each, here {wire.feature}", hint="write `linear(1) >> argsort`")
    return t.do(f"{{0}}.argsort(dim=1, descending={descending}, stable=True)", [wire], wire.feature.with_(layout="order"))


def reorder(t: Tracer, x: ValueTree, *, order: Module) -> ValueTree:
    """The tokens in this order; only its first, if it is cut short (``order >> first(n)``): ``(b, N, c) -> (b, n, c)``."""
    wire, places = _pair(t, x, order, "reorder")
    n, given = places.feature.n, wire.feature
    if n > given.n:
        raise error(f"an order of {n} tokens meets {given.n}", order.span, "it comes from scores of the same tokens")
    return t.do(f"{{0}}.gather(1, {{1}}.expand(-1, -1, {wire.c}))", [wire, places], given.with_(grid=(n,)))


def restore(t: Tracer, x: ValueTree, *, order: Module, fill: Expr | None = None) -> ValueTree:
    """The inverse of ``reorder``: the tokens where they were before, on their grid.

    Where fewer arrive than the order has, they are its first, and ``fill`` (a token; or a token for each that is missing) stands
    for the others: ``(b, n, c) -> (b, *grid, c)``.
    """
    wire, places = _pair(t, x, order, "restore")
    n, total = wire.feature.n, places.feature.n
    if n > total:
        raise error(f"{n} tokens meet an order of {total}", order.span, "restore what `reorder` gave, or the first of it")
    inputs, text = [wire, places], "{0}"
    if n < total:
        inputs.append(_fill(t, wire, fill, total - n))
        text = f"torch.cat([{{0}}, {{2}}.expand(-1, {total - n}, -1)], dim=1)"
    shape = wire.feature.with_(grid=places.feature.grid)
    return t.to(t.do(f"{text}.gather(1, {{1}}.argsort(dim=1).expand(-1, -1, {wire.c}))", inputs, shape), "grid")


def first(t: Tracer, x: ValueTree, *, n: int) -> ValueTree:
    """The first ``n`` tokens (or of an order): ``(b, N, c) -> (b, n, c)``. None of them is absent."""
    wire = _plain(t, x, "first")
    return _range(t, wire, 0, _within(n, wire)) if n else None


def rest(t: Tracer, x: ValueTree, *, n: int) -> ValueTree:
    """The tokens after the first ``n`` (or of an order): ``(b, N, c) -> (b, N - n, c)``. None of them is absent."""
    wire = _plain(t, x, "rest")
    return _range(t, wire, n, wire.feature.n) if _within(n, wire) < wire.feature.n else None


def _within(n: int, wire: Value) -> int:
    if not 0 <= n <= wire.feature.n:
        raise error(f"{n} of {wire.feature.n} tokens", hint="a number between 0 and that of the tokens")
    return n


def _range(t: Tracer, wire: Value, start: int, stop: int) -> Value:
    f = wire.feature
    text = f"{{0}}[:, {start or ''}:{stop if stop < f.n else ''}]"
    return t.do(text, [wire], f.with_(grid=(stop - start,))) if stop - start < f.n else wire


def _plain(t: Tracer, x: ValueTree, name: str) -> Value:
    """Tokens without prefix, or an order."""
    wire = t.single(x)
    if wire.feature.layout == "order" and name in ("first", "rest"):
        return wire
    wire = t.to(wire, "tokens")
    if wire.feature.prefix:
        hint = f"write `patches >> {name}`, and `join` them after"
        raise error(f"{wire.feature.prefix} prefix token(s) among those of `{name}`", hint=hint)
    return wire


def _pair(t: Tracer, x: ValueTree, order: Expr, name: str) -> tuple[Value, Value]:
    wire = _plain(t, x, name)
    places = t.single(t.apply(order, wire))
    if places.feature.layout != "order":
        raise error(f"{places.feature} is no order", order.span, _SCORES)
    wire, places = t.together(wire, places)
    return wire, places


def _fill(t: Tracer, wire: Value, fill: Expr | None, missing: int) -> Value:
    value = None if fill is None else t.apply(fill, wire)
    if fill is None or value is None:
        raise error(f"{missing} tokens are missing", hint="say what stands for them: `restore(order, fill=learned(1))`")
    given = t.together(t.to(t.single(value), "tokens"), wire)[0]
    f = given.feature
    if f.c != wire.c or f.n not in (1, missing):
        hint = "one token of that width, or one for each"
        raise error(f"`fill=` gives {f} for {missing} tokens of {wire.c} channels", fill.span, hint)
    return given
