"""Modules on parts of the channels, averages of modules, and modules on the members of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..language.budget import spend
from ..lowering.arguments import Expr
from ..lowering.ir import Value, ValueTree, flat_values, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def split(t: Tracer, x: ValueTree, *modules: Expr, sizes: list[int] | None = None, parts: int | None = None) -> ValueTree:
    """Divides the channels into parts, applies an expression to each, and concatenates the results.

    A part whose expression is `none` is left out of the result.

    Args:
        modules: one expression a part; with ``parts`` only one.
        sizes: channels of each part; by default equal ones.
        parts: number of copies of the one expression, each with its own weights. Inside, the word `part` is the copy's number.

    Returns:
        The parts side by side, in the layout of the first; their extents have to match.

    Raises:
        SpecError: the sizes do not add up to the width, or do not fit the expressions; the results differ in extents.

    >>> shape_of("split(dw(3), dw(5), id, sizes=[16, 16, 32])", "64x14x14")
    'map 64 x 14x14'
    >>> shape_of("split(conv(8, 2 * part + 3), parts=4)", "64x14x14")
    'map 32 x 14x14'
    """
    whole = single(x)
    if parts is not None:
        if len(modules) != 1 or modules[0] is None:
            raise error("`parts=` goes with one expression", hint="write `split(a, parts=4)`, or `split(a, b, c)`")
        if not 1 <= parts <= whole.c:
            raise error(f"{parts} parts of {whole.c} channels", hint="each part has at least one channel")
        spend(20 * parts)
        branches = list(modules) * parts
    else:
        branches = list(modules)
    if sizes is None:
        if not branches or whole.c % len(branches):
            raise error(f"{len(branches)} equal parts of {whole.c} channels", hint="give `sizes=[...]`")
        sizes = [whole.c // len(branches)] * len(branches)
    if min(sizes) < 1:
        raise error(f"a part of {min(sizes)} channels", hint="each part has at least one channel")
    if len(sizes) != len(branches):
        raise error(f"{len(sizes)} sizes for {len(branches)} parts", hint="one size a part")
    outputs = []
    for number, (branch, piece) in enumerate(zip(branches, t.ir.split(whole, sizes), strict=True)):
        with t.context.push(part=number):
            value = t.apply(branch, piece, suffix=f".{number}" if parts is not None else "")
        outputs += [single(value)] if value is not None else []
    return t.ir.concat(outputs) if outputs else None


def cascade(t: Tracer, x: ValueTree, *, a: Expr, parts: int) -> ValueTree:
    """Divides the channels into ``parts`` and applies a copy of ``a`` to each, plus the result of the part before.

    ``y_0 = a_0(x_0)``, ``y_i = a_i(x_i + y_(i-1))``; the ``y_i`` are concatenated. Each copy has its own weights, and inside it
    the word `part` is its number.

    Args:
        a: the expression. It has to return its input's width, and extents that broadcast.
        parts: number of parts, which divides the width.

    Returns:
        The results side by side.

    Raises:
        SpecError: ``parts`` does not divide the width; a result does not fit the next part.

    Cascaded group attention of EfficientViT, Liu et al. 2023, Eq. 1 and 2 (arXiv 2305.07027).

    >>> shape_of("cascade(attention(1, head_dim=8), parts=4)", "64x14x14")
    'tokens 14x14 x 64'
    """
    whole = single(x)
    if parts < 1 or whole.c % parts:
        raise error(f"{parts} equal parts of {whole.c} channels", hint="choose a number that divides the width")
    spend(20 * parts)
    outputs: list[Value] = []
    for number, piece in enumerate(t.ir.split(whole, [whole.c // parts] * parts)):
        with t.context.push(part=number):
            value = t.apply(a, t.ir.binary("+", piece, outputs[-1]) if outputs else piece, suffix=f".{number}")
        if value is None:
            break
        outputs.append(single(value))
    return t.ir.concat(outputs) if outputs else None


def mean(t: Tracer, x: ValueTree, *modules: Expr) -> ValueTree:
    """The average of several outputs: ``(a(x) + b(x) + ...) / n``.

    Args:
        modules: expressions on the same input. One that is `none` does not count.

    Returns:
        The shape of one output; all have to match.

    Raises:
        SpecError: the outputs differ in extents or width.

    >>> shape_of("mean(dw(3), dw(5), avg_pool(3))", "64x14x14")
    'map 64 x 14x14'
    """
    outputs = [single(value) for module in modules if module is not None and (value := t.apply(module, x)) is not None]
    if not outputs:
        return None
    total = outputs[0]
    for output in outputs[1:]:
        total = t.ir.binary("+", total, output)
    return t.ir.inline(f"{{0}} / {len(outputs)}", [total], total.feature)


def concat(t: Tracer, x: ValueTree, *modules: Expr) -> ValueTree:
    """The channels of all outputs, side by side: what ``a || b`` means, for any number of them.

    Args:
        modules: expressions on the same input, or values of a stream; a list counts as its members. One that is `none` does not
            count.

    Returns:
        The layout of the first output that has extents; a vector or a single token is repeated at every position.

    Raises:
        SpecError: the outputs differ in extents.

    >>> shape_of("concat(dw(3), conv(16, 1))", "64x14x14")
    'map 80 x 14x14'
    >>> shape_of("concat([avg_pool(2 * i + 3) for i in range(3)])", "64x14x14")
    'map 192 x 14x14'
    """
    outputs = [value for module in modules for value in flat_values(t.apply(module, x))]
    return t.ir.concat(outputs) if outputs else None


def each(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """Applies one module, with one set of weights, to every member of a list.

    Args:
        a: the module. Members may differ in their extents, but not in what the module's weights depend on (the width).

    Returns:
        A list with the output for each member.

    Raises:
        SpecError: one value arrives, not a list; an empty list; the members need different weights.

    >>> shape_of("[id, avg_pool(2, stride=2)] >> each(layer_norm >> linear(32))", "64x14x14")
    '[tokens 14x14 x 32, tokens 7x7 x 32]'
    """
    if not isinstance(x, (list, tuple)):
        raise error("`each` works on a list, one value arrives", hint="apply the module itself")
    if not x:
        raise error("`each` works on a list, an empty one arrives", hint="give it a member, or leave the list out")
    values = t.apply_once(a, list(x)) if a is not None else [None]
    return None if values and all(value is None for value in values) else values


def steps(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """The outputs after every copy of a repeat, every stage, or every item of a chain, as a list.

    Args:
        a: a repeat ``n * a``, the name `stages`, or a chain ``a >> b >> c``.

    Returns:
        A list, the last output last.

    >>> shape_of("steps(3 * conv(c, 3, stride=2))", "64x32x32")
    '[map 64 x 16x16, map 64 x 8x8, map 64 x 4x4]'
    >>> shape_of("steps(conv(32) >> conv(16))", "64x14x14")
    '[map 32 x 14x14, map 16 x 14x14]'
    """
    return t.results(a, x) if a is not None else None
