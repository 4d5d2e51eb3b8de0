"""Tokens and their prefix: class tokens, patches, and taking apart."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr
from ..lowering.ir import ValueTree, flat_values, single
from ..shape import Layout

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def join(t: Tracer, x: ValueTree, *parts: Expr, prefix: int | None = None) -> ValueTree:
    """Tokens one after the other: ``join(class_token, patches)``. All but the last become prefix tokens.

    With ``prefix=n`` the first ``n`` tokens do, and the others are one row: ``join(prefix, a, b, prefix=1)``.
    """
    values = [t.apply(part, x) for part in parts if part is not None]
    pieces = [t.ir.cast(single(value), "tokens") for value in values if value is not None]
    if not pieces:
        return None
    pieces = t.ir.together(*pieces)
    last = pieces[-1].feature
    if len(pieces) == 1 and prefix is None:
        return t.ir.cast(pieces[0], "grid") if not last.prefix else pieces[0]
    if any(wire.c != last.c for wire in pieces):
        shown = ", ".join(str(wire.feature) for wire in pieces)
        raise error(f"tokens of different widths cannot be joined: {shown}", hint="end one with `linear(c)`")
    total = sum(wire.feature.n for wire in pieces)
    shape = last.with_(prefix=total - prod(last.grid))
    if prefix is not None:
        if not 0 <= prefix < total:
            raise error(f"{prefix} prefix token(s) of {total}", hint="at least one token is none")
        shape = last.with_(prefix=prefix, grid=(total - prefix,))
    names = ", ".join(f"{{{i}}}" for i in range(len(pieces)))
    wire = t.ir.inline(f"torch.cat([{names}], dim=1)" if len(pieces) > 1 else "{0}", pieces, shape)
    return t.ir.cast(wire, "grid") if not shape.prefix else wire


def patches(t: Tracer, x: ValueTree) -> ValueTree:
    """What arrives without its prefix tokens, on its grid."""
    value = single(x)
    f = value.feature
    if f.layout == "vector":
        raise error("a vector has no patches", hint="take them before `global_pool`")
    if not f.prefix:
        return t.ir.cast(value, "grid") if f.layout == "tokens" else value
    return t.ir.cast(t.ir.take_tokens(value, f.prefix, f.n, grid=f.grid), "grid")


def prefix(t: Tracer, x: ValueTree) -> ValueTree:
    """The prefix tokens (class token ...) of what arrives; none where there are none."""
    value = single(x)
    f = value.feature
    return t.ir.take_tokens(value, 0, f.prefix, grid=(f.prefix,)) if f.prefix else None


def take(t: Tracer, x: ValueTree, *, i: int) -> ValueTree:
    """Token number ``i`` as a vector; 0 is the class token where there is one."""
    value = t.ir.cast(single(x), "tokens")
    f = value.feature
    if not -f.n <= i < f.n:
        raise error(f"token {i} of {f.n}", hint="tokens are numbered from 0, prefix tokens first")
    return t.ir.inline(f"{{0}}[:, {i}]", [value], f.with_(layout="vector", grid=(), prefix=0))


def chunk(t: Tracer, x: ValueTree, *, n: int, sizes: list[int] | None = None) -> ValueTree:
    """Channels divided into ``n`` parts, equal or of ``sizes``, as a list: ``q, k, v = linear(3 * c) >> chunk(3)``."""
    value = single(x)
    if sizes is None:
        if n < 1 or value.c % n:
            raise error(f"{n} equal parts of {value.c} channels", hint="give `sizes=[...]`")
        sizes = [value.c // n] * n
    if len(sizes) != n:
        raise error(f"{len(sizes)} sizes for {n} parts", hint="one size a part")
    return t.ir.split(value, sizes)


def spread(t: Tracer, x: ValueTree, *, n: int) -> ValueTree:
    """Each token becomes ``n``, one after the other, of consecutive channels: ``(b, N, n * c) -> (b, N * n, c)``."""
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
    """All that arrives as one vector: ``(b, c, *grid) -> (b, c * prod(grid))``.

    Channel by channel (``"c n"``), or token by token (``"n c"``, TNT, arXiv 2103.00112).
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
    """A source of ``n`` tokens that are 0: ``(b, n, out)``, by default as wide as what arrives. They are no parameters."""
    return _constant(t, x, "zeros", n, out)


def ones(t: Tracer, x: ValueTree, *, n: int, out: int | None = None) -> ValueTree:
    """A source of ``n`` tokens that are 1: ``(b, n, out)``, by default as wide as what arrives.

    ``ones(1, heads) >> scale(2.3)`` is one learned number a head.
    """
    return _constant(t, x, "ones", n, out)


def _constant(t: Tracer, x: ValueTree, name: str, n: int, out: int | None) -> ValueTree:
    like = next(flat_values(x), None)
    if like is None:
        raise error(f"nothing arrives that `{name}` could take the batch from", hint="start from a wire: `x >> zeros(1)`")
    width = like.c if out is None else out
    if n < 1 or width < 1:
        raise error(f"{n} tokens of {width} channels", hint="at least 1")
    shape = like.feature.with_(layout="tokens", c=width, grid=(n,), prefix=0)
    return t.ir.inline(f"{{0}}.new_{name}(({{0}}.shape[0], {n}, {width}))", [like], shape)
