"""Tokens without a grid, and with another one: ``tokens`` and ``grid``."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..language.arithmetic import is_whole
from ..lowering.arguments import Expr
from ..lowering.ir import ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

_WRITE = "write `grid(14, 14)`, or the extents of a wire: `grid(x.grid)`"


def tokens(t: Tracer, x: ValueTree) -> ValueTree:
    """Drops the grid: ``(b, *grid, c) -> (b, N, c)``, a sequence. Prefix tokens stay prefix tokens.

    A sequence is a grid of one axis: a convolution on it is one-dimensional, and so are a pool, a window, a relative bias.
    (``join(id, prefix=0)`` makes prefix tokens ordinary ones, too.)

    Returns:
        Tokens in a row. What a network ends with has the shape ``(b, prefix + N, c)`` then, whatever came before.

    Raises:
        SpecError: a vector or an order arrives.

    >>> shape_of("tokens", "64x14x14")
    'tokens 196 x 64'
    >>> shape_of("tokens", "tokens 1 + 14x14 x 64")
    'tokens 1 + 196 x 64'
    """
    value = t.ir.cast(single(x), "tokens")
    f = value.feature
    return value if f.rank == 1 else t.ir.inline("{0}", [value], f.with_(grid=(prod(f.grid),)))


def resize_like(t: Tracer, x: ValueTree, *, to: Expr, mode: str = "bilinear") -> ValueTree:
    """Interpolation to the extents of another wire: ``(b, c, *grid) -> (b, c, *extents)``.

    Unlike ``resize(to.grid)``, which fits one size of the input, it fits any.

    Args:
        to: a wire, or an expression on what arrives; only its extents are read.
        mode: ``"bilinear"`` (linear in 1-D, trilinear in 3-D), ``"nearest"`` or ``"bicubic"`` (2-D). Edges are aligned.

    Returns:
        A map on the grid of ``to``.

    Raises:
        SpecError: another mode; another number of axes; what has no grid.

    >>> shape_of("resize_like(conv(8, 3, stride=2))", "64x15x14")
    'map 64 x 8x7'
    """
    like = t.apply(to, x)
    if like is None:
        raise error("`resize_like` of what is absent", to.span, "give it a wire")
    return t.ir.call("resize.ResizeLike", "resize", [single(x), t.ir.cast(single(like), "map")], mode=mode)


def grid(t: Tracer, x: ValueTree, *extents: Expr) -> ValueTree:
    """Gives tokens a grid: ``(b, N, c) -> (b, *extents, c)``, row by row. Prefix tokens stay prefix tokens.

    Args:
        extents: one, two or three numbers, or a list of them: ``grid(14, 14)``, ``grid(x.grid)``. Their product is the number
            of tokens that have a place. (Without brackets, ``grid`` is the list of the input's extents.)

    Returns:
        Tokens on that grid.

    Raises:
        SpecError: the extents are of another number of tokens; they are not one to three whole numbers from 1.

    >>> shape_of("tokens >> grid(14, 14)", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("x -> x >> avg_pool(2, stride=2) >> tokens >> dw(3) >> grid(7, 7)", "64x14x14")
    'tokens 7x7 x 64'
    """
    value = t.ir.cast(single(x), "tokens")
    f, wanted = value.feature, _extents(t, extents)
    shown = "x".join(map(str, wanted))
    if prod(wanted) != prod(f.grid):
        besides = f" besides {f.prefix} prefix token(s)" if f.prefix else ""
        hint = "the product of the extents is the number of tokens"
        raise error(f"a grid of {shown} has {prod(wanted)} places, {prod(f.grid)} tokens arrive{besides}", hint=hint)
    if wanted != f.grid:
        value = t.ir.inline("{0}", [value], f.with_(grid=wanted, ungridded=None))
    return value if f.prefix else t.ir.cast(value, "grid")


def _extents(t: Tracer, parts: tuple[Expr | None, ...]) -> tuple[int, ...]:
    """The numbers of a call, lists among them taken apart."""
    numbers = []
    for part in parts:
        value = None if part is None else t.evaluate.value(part.node, part.scope)
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if not is_whole(number) or number < 1:
                raise error("an extent of `grid` is a whole number from 1", part.span if part is not None else None, _WRITE)
            numbers.append(number)
    if not 1 <= len(numbers) <= 3:
        raise error(f"a grid of {len(numbers)} axes", parts[0].span if parts[0] is not None else None, _WRITE)
    return tuple(numbers)
