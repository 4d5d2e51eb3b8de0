"""Selecting tokens, putting them into an order, and back where they were (MAE, arXiv 2111.06377; CF-ViT, arXiv 2203.03821).

::

    order = noise >> argsort
    x = x >> reorder(order) >> first(keep) >> encoder
    y = x >> restore(order, fill=learned(1))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr, Module
from ..lowering.ir import Value, ValueTree, mapped, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

_SCORES = "`argsort` makes an order of scores: `order = scores >> argsort`"


def argsort(t: Tracer, x: ValueTree, *, descending: bool = False) -> ValueTree:
    """The order of tokens by their scores: ``(b, N, 1) -> (b, N, 1)``.

    Entry ``i`` of an order is the number of the token that comes at place ``i``. Tokens with equal scores stay in sequence. An
    order remembers the grid, for :func:`restore`.

    Args:
        descending: whether the highest score comes first.

    Returns:
        An order, which only :func:`reorder`, :func:`restore`, :func:`first` and :func:`rest` take.

    Raises:
        SpecError: more than one channel arrives, or prefix tokens.

    >>> shape_of("linear(1) >> argsort(descending=true)", "64x14x14")
    'order of 196 tokens'
    """
    value = _plain(t, x, "argsort")
    if value.c != 1:
        raise error(f"tokens are ordered by one score each, here {value.feature}", hint="write `linear(1) >> argsort`")
    return t.ir.inline(
        f"{{0}}.argsort(dim=1, descending={descending}, stable=True)", [value], value.feature.with_(layout="order")
    )


def reorder(t: Tracer, x: ValueTree, *, order: Module) -> ValueTree:
    """Puts tokens into an order: ``(b, N, c) -> (b, n, c)``.

    Args:
        order: an order of the same tokens, or its beginning: ``order >> first(n)`` selects n tokens.

    Returns:
        One-dimensional tokens. For a list a list: all members in one order.

    Raises:
        SpecError: ``order`` is not an order, or one of more or fewer tokens than arrive; there are prefix tokens.

    >>> shape_of("reorder(linear(1) >> argsort >> first(49))", "64x14x14")
    'tokens 49 x 64'
    """
    values = mapped(x, lambda value: _plain(t, value, "reorder"))
    wanted = t.apply(order, values)
    return mapped(values, lambda value: _reordered(t, value, wanted, order))


def _reordered(t: Tracer, x: Value, order: ValueTree, source: Expr) -> Value:
    value, places = _pair(t, x, order, source)
    n, f = places.feature.n, value.feature
    whole = places.feature.of or n
    if whole != f.n:
        raise error(f"an order of {whole} tokens meets {f.n}", source.span, "it comes from scores of the same tokens")
    return t.ir.inline(f"{{0}}.gather(1, {{1}}.expand(-1, -1, {value.c}))", [value, places], f.with_(grid=(n,)))


def restore(t: Tracer, x: ValueTree, *, order: Module, fill: Expr | None = None) -> ValueTree:
    """The inverse of ``reorder``: puts tokens back where they were, ``(b, n, c) -> (b, *grid, c)``.

    Args:
        order: the whole order. If fewer tokens arrive than it has, they are its first.
        fill: what stands for the missing tokens: one token for all, or one for each.

    Returns:
        Tokens on the grid of the scores that made the order.

    Raises:
        SpecError: ``order`` is not an order, or a part of one, or has fewer tokens than arrive; tokens are missing and ``fill``
            does not fit them.

    Mask tokens of MAE, He et al. 2022 (arXiv 2111.06377).

    >>> shape_of('''x ->
    ...     order = x >> linear(1) >> argsort
    ...     visible = x >> reorder(order) >> first(49) >> attention(4)
    ...     return visible >> restore(order, fill=learned(1))
    ... ''', "64x14x14")
    'tokens 14x14 x 64'
    """
    value = _plain(t, single(x), "restore")
    value, places = _pair(t, value, t.apply(order, value), order)
    n, total = value.feature.n, places.feature.n
    if places.feature.of is not None:
        hint = "write the order itself: the tokens that arrive are its first, `fill=` stands for the others"
        raise error(f"this is {total} of an order of {places.feature.of} tokens, `restore` needs the whole", order.span, hint)
    if n > total:
        raise error(f"{n} tokens meet an order of {total}", order.span, "restore what `reorder` gave, or the first of it")
    inputs, text = [value, places], "{0}"
    if n < total:
        inputs.append(_fill(t, value, fill, total - n))
        text = f"torch.cat([{{0}}, {{2}}.expand(-1, {total - n}, -1)], dim=1)"
    shape = value.feature.with_(grid=places.feature.grid)
    return t.ir.cast(t.ir.inline(f"{text}.gather(1, {{1}}.argsort(dim=1).expand(-1, -1, {value.c}))", inputs, shape), "grid")


def first(t: Tracer, x: ValueTree, *, n: int) -> ValueTree:
    """The first ``n`` tokens, or the first ``n`` places of an order: ``(b, N, c) -> (b, n, c)``; absent for ``n = 0``.

    Returns:
        A sequence, also where it has all tokens of a grid. An order stays one.

    Raises:
        SpecError: there are fewer tokens, or prefix tokens.

    >>> shape_of("first(49)", "64x14x14")
    'tokens 49 x 64'
    """
    value = _plain(t, x, "first")
    return _range(t, value, 0, _within(n, value)) if n else t.nothing()


def rest(t: Tracer, x: ValueTree, *, n: int) -> ValueTree:
    """The tokens after the first ``n``, or those places of an order: ``(b, N, c) -> (b, N - n, c)``; absent for ``n = N``.

    Returns:
        A sequence, also where it has all tokens of a grid. An order stays one.

    Raises:
        SpecError: there are fewer tokens, or prefix tokens.

    >>> shape_of("rest(49)", "64x14x14")
    'tokens 147 x 64'
    """
    value = _plain(t, x, "rest")
    return _range(t, value, n, value.feature.n) if _within(n, value) < value.feature.n else t.nothing()


def _within(n: int, value: Value) -> int:
    """``n``, if there are so many tokens."""
    if not 0 <= n <= value.feature.n:
        raise error(f"there are not {n} tokens, but {value.feature.n}", hint=f"a number between 0 and {value.feature.n}")
    return n


def _range(t: Tracer, value: Value, start: int, stop: int) -> Value:
    """The tokens from ``start`` up to ``stop``."""
    f = value.feature
    if stop - start == f.n:
        return value if f.layout == "order" or f.rank == 1 else t.ir.inline("{0}", [value], f.with_(grid=(f.n,)))
    text = f"{{0}}[:, {start or ''}:{stop if stop < f.n else ''}]"
    whole = (f.of or f.n) if f.layout == "order" else None
    return t.ir.inline(text, [value], f.with_(grid=(stop - start,), of=whole))


def _plain(t: Tracer, x: ValueTree, name: str) -> Value:
    """Tokens without a prefix; for ``first`` and ``rest`` also an order."""
    value = single(x)
    if value.feature.layout == "order" and name in ("first", "rest"):
        return value
    value = t.ir.cast(value, "tokens")
    if value.feature.prefix:
        hint = f"write `patches >> {name}`, and `join` them after"
        raise error(f"{value.feature.prefix} prefix token(s) among those of `{name}`", hint=hint)
    return value


def _pair(t: Tracer, value: Value, order: ValueTree, source: Expr) -> tuple[Value, Value]:
    """The tokens and their order, in the same windows; ``source`` is what computed the order."""
    places = single(order)
    if places.feature.layout != "order":
        raise error(f"{places.feature} is no order", source.span, _SCORES)
    value, places = t.ir.together(value, places)
    return value, places


def _fill(t: Tracer, tokens: Value, fill: Expr | None, missing: int) -> Value:
    """What stands for the missing tokens: one token, or one for each."""
    value = None if fill is None else t.apply(fill, tokens)
    if fill is None or value is None:
        raise error(f"{missing} tokens are missing", hint="say what stands for them: `restore(order, fill=learned(1))`")
    filler = t.ir.together(t.ir.cast(single(value), "tokens"), tokens)[0]
    f = filler.feature
    if f.c != tokens.c or f.n not in (1, missing):
        hint = "one token of that width, or one for each"
        raise error(f"`fill=` gives {f} for {missing} tokens of {tokens.c} channels", fill.span, hint)
    return filler
