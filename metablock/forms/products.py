"""Products of token matrices: two streams multiplied, and one turned over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Module
from ..lowering.ir import ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def matmul(t: Tracer, x: ValueTree, *, by: Module) -> ValueTree:
    """The product of two token matrices: ``(b, N, c) (b, c, e) -> (b, N, e)``. Prefix tokens count as tokens.

    ``x >> matmul(y)`` of two streams: bilinear pooling is ``x >> transpose >> matmul(y)``, attention without heads ``q >>
    matmul(k >> transpose) >> softmax >> matmul(v)``.

    Args:
        by: the right matrix, a wire or a module on what arrives: as many tokens as the left one has channels.

    Returns:
        The extents of the left matrix, the width of the right one.

    Raises:
        SpecError: another number of tokens; a vector; an absent value.

    >>> shape_of("id >> matmul(transpose)", "64x14x14")
    'tokens 14x14 x 196'
    """
    left = t.ir.cast(single(x), "grid", "tokens")
    right = t.ir.cast(single(t.apply(by, x)), "tokens", "grid")
    right = right if right.feature.layout == "tokens" else t.ir.cast(right, "tokens")
    left, right = t.ir.together(left, right)
    f, other = left.feature, right.feature
    if other.n != f.c:
        hint = f"the right one needs {f.c} tokens; `transpose` turns tokens to channels"
        raise error(f"{f} times {other}: {f.c} channels meet {other.n} tokens", by.span, hint)
    flat = f.layout == "grid" and f.rank > 1
    template = "({0}.flatten(1, -2) @ {1}).unflatten(1, {0}.shape[1:-1])" if flat else "{0} @ {1}"
    return t.ir.inline(template, [left, right], f.with_(c=other.c))


def transpose(t: Tracer, x: ValueTree) -> ValueTree:
    """Turns tokens to channels and channels to tokens: ``(b, N, c) -> (b, c, N)``. Prefix tokens count as tokens.

    Returns:
        A sequence of ``c`` tokens. :func:`transposed` applies a module in between, and turns back to the grid.

    Raises:
        SpecError: a vector.

    >>> shape_of("transpose", "64x14x14")
    'tokens 64 x 196'
    """
    value = t.ir.cast(single(x), "tokens")
    f = value.feature
    return t.ir.inline("{0}.transpose(1, 2)", [value], f.with_(c=f.n, grid=(f.c,), prefix=0, of=None))
