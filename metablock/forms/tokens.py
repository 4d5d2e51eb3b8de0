"""Tokens: joining them, prefix tokens such as the class token, taking values apart, constant tokens."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..language.budget import spend
from ..lowering.arguments import Expr
from ..lowering.ir import ValueTree, flat_values, single
from ..shape import Layout

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def join(t: Tracer, x: ValueTree, *parts: Expr, prefix: int | None = None) -> ValueTree:
    """Concatenates tokens: ``(b, N_1, c), (b, N_2, c) ... -> (b, N_1 + N_2 + ..., c)``.

    The tokens of the last part keep their grid; all before them become prefix tokens.

    Args:
        parts: expressions on the same input; one that is `none` is left out.
        prefix: number of prefix tokens instead; all others lose their grid and stand in one dimension.

    Returns:
        Tokens with a prefix; without a prefix, tokens on a grid.

    Raises:
        SpecError: the parts differ in width; ``prefix`` leaves no token.

    The class token of ViT, Dosovitskiy et al. 2021, Eq. 1 (arXiv 2010.11929).

    >>> shape_of("join(learned(1), id)", "64x14x14")
    'tokens 1 + 14x14 x 64'
    >>> shape_of("join(id, avg_pool(2, stride=2), prefix=0)", "64x14x14")
    'tokens 245 x 64'
    """
    values = [t.apply(part, x) for part in parts if part is not None]
    pieces = [t.ir.cast(single(value), "tokens") for value in values if value is not None]
    if not pieces:
        return None
    pieces = t.ir.together(*pieces)
    last = pieces[-1].feature
    if len(pieces) == 1 and prefix is None:
        return t.ir.cast(pieces[0], "grid") if not last.prefix else pieces[0]
    if any(piece.c != last.c for piece in pieces):
        shown = ", ".join(str(piece.feature) for piece in pieces)
        raise error(f"tokens of different widths cannot be joined: {shown}", hint="end one with `linear(c)`")
    total = sum(piece.feature.n for piece in pieces)
    shape = last.with_(prefix=total - prod(last.grid))
    if prefix is not None:
        if not 0 <= prefix < total:
            raise error(f"{prefix} prefix token(s) of {total}", hint="at least one token is none")
        shape = last.with_(prefix=prefix, grid=(total - prefix,))
    names = ", ".join(f"{{{i}}}" for i in range(len(pieces)))
    joined = t.ir.inline(f"torch.cat([{names}], dim=1)" if len(pieces) > 1 else "{0}", pieces, shape)
    return t.ir.cast(joined, "grid") if not shape.prefix else joined


def patches(t: Tracer, x: ValueTree) -> ValueTree:
    """Removes the prefix tokens: ``(b, prefix + N, c) -> (b, *grid, c)``.

    Returns:
        The tokens that have a place in the grid; a map or a grid as it is.

    Raises:
        SpecError: a vector arrives.

    >>> shape_of("patches", "tokens 1 + 14x14 x 64")
    'tokens 14x14 x 64'
    """
    value = single(x)
    f = value.feature
    if f.layout == "vector":
        raise error("a vector has no patches", hint="take them before `global_pool`")
    if not f.prefix:
        return t.ir.cast(value, "grid") if f.layout == "tokens" else value
    return t.ir.cast(t.ir.take_tokens(value, f.prefix, f.n, grid=f.grid), "grid")


def prefix(t: Tracer, x: ValueTree) -> ValueTree:
    """The prefix tokens alone, such as the class token: ``(b, prefix + N, c) -> (b, prefix, c)``; absent if there are none.

    >>> shape_of("prefix", "tokens 2 + 14x14 x 64")
    'tokens 2 x 64'
    """
    value = single(x)
    f = value.feature
    return t.ir.take_tokens(value, 0, f.prefix, grid=(f.prefix,)) if f.prefix else t.nothing()


def take(t: Tracer, x: ValueTree, *, i: int) -> ValueTree:
    """One token as a vector: ``(b, N, c) -> (b, c)``.

    Args:
        i: its number, prefix tokens first: 0 is the class token, if there is one. Negative numbers count from the end.

    Raises:
        SpecError: there is no token with this number.

    >>> shape_of("take(0) >> linear(10)", "tokens 1 + 14x14 x 64")
    'vector of 10'
    """
    value = t.ir.cast(single(x), "tokens")
    f = value.feature
    if not -f.n <= i < f.n:
        raise error(f"there is no token {i}: {f.n} arrive", hint="tokens are numbered from 0, prefix tokens first")
    return t.ir.inline(f"{{0}}[:, {i}]", [value], f.with_(layout="vector", grid=(), prefix=0))


def chunk(t: Tracer, x: ValueTree, *, n: int, sizes: list[int] | None = None) -> ValueTree:
    """Divides the channels into a list of ``n`` parts.

    Args:
        n: number of parts.
        sizes: channels of each part; by default equal ones.

    Returns:
        A list of values in the layout that enters.

    Raises:
        SpecError: the parts do not add up to the width, or are not ``n``.

    >>> shape_of("linear(3 * c) >> chunk(3)", "64x14x14")
    '[tokens 14x14 x 64, tokens 14x14 x 64, tokens 14x14 x 64]'
    >>> shape_of("chunk(2, sizes=[16, 48])", "64x14x14")
    '[map 16 x 14x14, map 48 x 14x14]'
    """
    value = single(x)
    if sizes is None:
        if n < 1 or value.c % n:
            raise error(f"{n} equal parts of {value.c} channels", hint="give `sizes=[...]`")
        spend(10 * n)
        sizes = [value.c // n] * n
    if len(sizes) != n:
        raise error(f"{len(sizes)} sizes for {n} parts", hint="one size a part")
    return t.ir.split(value, sizes)


def spread(t: Tracer, x: ValueTree, *, n: int) -> ValueTree:
    """Turns each token into ``n`` tokens of consecutive channels: ``(b, N, n * c) -> (b, N * n, c)``.

    The tokens of one token follow each other; the result is one-dimensional.

    Args:
        n: tokens that each becomes; it divides the width.

    Raises:
        SpecError: ``n`` does not divide the width; there are prefix tokens.

    >>> shape_of("spread(4)", "64x14x14")
    'tokens 784 x 16'
    """
    value = t.ir.cast(single(x), "tokens")
    f = value.feature
    if f.prefix:
        hint = "write `patches >> spread(n)`, and `join` them after"
        raise error(f"{f.prefix} prefix token(s) among those of `spread`", hint=hint)
    if n < 1 or f.c % n:
        raise error(f"{n} tokens of {f.c} channels", hint="choose a number that divides the width")
    text = f"{{0}}.unflatten(-1, ({n}, {f.c // n})).flatten(1, 2)"
    return t.ir.cast(t.ir.inline(text, [value], f.with_(c=f.c // n, grid=(f.n * n,))), "grid")


def flatten(t: Tracer, x: ValueTree, *, order: str = "c n") -> ValueTree:
    """Flattens a value to one vector: ``(b, c, *grid) -> (b, c * prod(grid))``.

    Args:
        order: ``"c n"``: channel by channel. ``"n c"``: token by token, prefix tokens first (TNT, arXiv 2103.00112).

    Raises:
        SpecError: another word for ``order``; prefix tokens in the order ``"c n"``.

    >>> shape_of("flatten", "64x14x14")
    'vector of 12544'
    >>> shape_of('flatten(order="n c")', "tokens 1 + 14x14 x 64")
    'vector of 12608'
    """
    if order not in ("c n", "n c"):
        raise error(f'unknown order "{order}"', hint='"c n" (channel by channel) or "n c" (token by token)')
    layouts: tuple[Layout, ...] = ("map", "vector") if order == "c n" else ("grid", "tokens", "vector")
    value = t.ir.cast(single(x), *layouts)
    f = value.feature
    if f.layout == "vector":
        return value
    return t.ir.inline("{0}.flatten(1)", [value], f.with_(layout="vector", c=f.c * f.n, grid=(), prefix=0))


def zeros(t: Tracer, x: ValueTree, *, n: int, out: int | None = None) -> ValueTree:
    """``n`` tokens of zeros, ``(b, n, out)``: a constant, not a parameter. Of the input only the batch counts.

    Args:
        n: number of tokens.
        out: their width; by default that of the input.

    Raises:
        SpecError: there is no input, or no token or channel is left.

    >>> shape_of("zeros(4, 32)", "64x14x14")
    'tokens 4 x 32'
    """
    return _constant(t, x, "zeros", n, out)


def ones(t: Tracer, x: ValueTree, *, n: int, out: int | None = None) -> ValueTree:
    """``n`` tokens of ones, ``(b, n, out)``: a constant, not a parameter. Of the input only the batch counts.

    ``ones(1, heads) >> scale(2.3)`` is one learned number a head.

    Args:
        n: number of tokens.
        out: their width; by default that of the input.

    Raises:
        SpecError: there is no input, or no token or channel is left.

    >>> shape_of("ones(1, 4) >> scale(2.3)", "64x14x14")
    'tokens 1 x 4'
    """
    return _constant(t, x, "ones", n, out)


def _constant(t: Tracer, x: ValueTree, name: str, n: int, out: int | None) -> ValueTree:
    """Tokens of one number, for the batch of what arrives."""
    like = next(flat_values(x), None)
    if like is None:
        raise error(f"nothing arrives that `{name}` could take the batch from", hint="start from a wire: `x >> zeros(1)`")
    width = like.c if out is None else out
    if n < 1 or width < 1:
        raise error(f"{n} tokens of {width} channels", hint="at least 1")
    shape = like.feature.with_(layout="tokens", c=width, grid=(n,), prefix=0)
    return t.ir.inline(f"{{0}}.new_{name}(({{0}}.shape[0], {n}, {width}))", [like], shape)
