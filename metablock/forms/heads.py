"""One module for every head: groups of channels, which stand in the batch while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr
from ..lowering.ir import ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def per_head(t: Tracer, x: ValueTree, *, n: int, a: Expr) -> ValueTree:
    """Applies ``a`` to each of ``n`` equal groups of consecutive channels, with the same weights, all at once.

    Inside, `c` is the width of a group, and the groups stand in the batch: ``per_head(heads, dw(3))`` is one depthwise
    convolution of ``head_dim`` kernels, which every head shares. (``split(a, parts=n)`` gives each part weights of its own.)

    Args:
        n: number of groups.
        a: the module. It may change extents and width, for all groups alike.

    Returns:
        What ``a`` returns, the groups side by side.

    Raises:
        SpecError: ``n`` does not divide the width; ``a`` returns what belongs to no group, or has no batch.

    The pools of MViTv2, Li et al. 2022 (arXiv 2112.01526).

    >>> shape_of("per_head(4, dw(3, stride=2) >> linear(8))", "64x14x14")
    'tokens 7x7 x 32'
    """
    value = single(x)
    f = value.feature
    if f.layout not in ("map", "grid", "tokens", "vector"):
        raise error(f"{f} has no channels to group", hint="it takes maps, tokens and vectors")
    if n < 1 or f.c % n:
        raise error(f"{n} equal groups of {f.c} channels", hint="choose a number that divides the width")
    d, around = f.c // n, (*f.around, (n,))
    if f.layout in ("map", "vector"):
        template = f"{{0}}.unflatten(1, ({n}, {d})).flatten(0, 1)"
    else:
        template = f"{{0}}.unflatten(-1, ({n}, {d})).movedim(-2, 1).flatten(0, 1)"
    with t.context.push(window=None):
        inside = t.apply(a, t.ir.inline(template, [value], f.with_(c=d, around=around)))
    if inside is None:
        return None
    result = single(inside)
    g = result.feature
    if g.around != around or g.layout not in ("map", "grid", "tokens", "vector"):
        raise error(f"what comes out of `per_head` is {g}: it belongs to no group", hint="let the module inside use what arrives")
    back = f"{{0}}.unflatten(0, (-1, {n}))"
    back += ".flatten(1, 2)" if g.layout in ("map", "vector") else ".movedim(1, -2).flatten(-2)"
    return t.ir.inline(back, [result], g.with_(c=n * g.c, around=f.around))
