"""Tokens and their prefix: class tokens, patches, and taking apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Expr
from ..errors import error
from ..graph import Value

if TYPE_CHECKING:
    from ..trace import Tracer


def join(t: Tracer, x: Value, *parts: Expr) -> Value:
    """Tokens one after the other: ``join(class_token, patches)``. All but the last become prefix tokens."""
    values = [t.apply(part, x) for part in parts if part is not None]
    wires = [t.to(t.single(value), "tokens") for value in values if value is not None]
    if not wires:
        return None
    wires = t.together(*wires)
    last = wires[-1].feature
    if len(wires) == 1:
        return t.to(wires[0], "grid") if not last.prefix else wires[0]
    if any(wire.c != last.c for wire in wires):
        raise error(f"tokens of different widths cannot be joined: {', '.join(str(w.feature) for w in wires)}", hint="end one with `linear(c)`")
    prefix = sum(wire.feature.n for wire in wires[:-1]) + last.prefix
    names = ", ".join(f"{{{i}}}" for i in range(len(wires)))
    return t.do(f"torch.cat([{names}], dim=1)", wires, last.with_(prefix=prefix))


def patches(t: Tracer, x: Value) -> Value:
    """What arrives without its prefix tokens, on its grid."""
    wire = t.single(x)
    f = wire.feature
    if f.layout == "vector":
        raise error("a vector has no patches", hint="take them before `global_pool`")
    if not f.prefix:
        return t.to(wire, "grid") if f.layout == "tokens" else wire
    return t.to(t.take_tokens(wire, f.prefix, f.n, grid=f.grid), "grid")


def prefix(t: Tracer, x: Value) -> Value:
    """The prefix tokens (class token ...) of what arrives; none where there are none."""
    wire = t.single(x)
    f = wire.feature
    return t.take_tokens(wire, 0, f.prefix, grid=(f.prefix,)) if f.prefix else None


def take(t: Tracer, x: Value, *, i: int) -> Value:
    """Token number ``i`` as a vector; 0 is the class token where there is one."""
    wire = t.to(t.single(x), "tokens")
    f = wire.feature
    if not -f.n <= i < f.n:
        raise error(f"token {i} of {f.n}", hint="tokens are numbered from 0, prefix tokens first")
    return t.do(f"{{0}}[:, {i}]", [wire], f.with_(layout="vector", grid=(), prefix=0))


def chunk(t: Tracer, x: Value, *, n: int, sizes: list[int] | None = None) -> Value:
    """Channels divided into ``n`` parts, equal or of ``sizes``, as a list: ``q, k, v = linear(3 * c) >> chunk(3)``."""
    wire = t.single(x)
    if sizes is None:
        if n < 1 or wire.c % n:
            raise error(f"{n} equal parts of {wire.c} channels", hint="give `sizes=[...]`")
        sizes = [wire.c // n] * n
    if len(sizes) != n:
        raise error(f"{len(sizes)} sizes for {n} parts", hint="one size a part")
    return t.channels(wire, sizes)


def flatten(t: Tracer, x: Value) -> Value:
    """All that arrives as one vector, channel by channel: ``(b, c, *grid) -> (b, c * prod(grid))``."""
    wire = t.to(t.single(x), "map", "vector")
    f = wire.feature
    if f.layout == "vector":
        return wire
    return t.do("{0}.flatten(1)", [wire], f.with_(layout="vector", c=f.c * f.n, grid=()))
