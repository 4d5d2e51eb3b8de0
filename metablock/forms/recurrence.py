"""Recurrences: a stream with a state, at every position of a sequence; the linear recurrence, and products at each position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg, Expr, Module
from ..lowering.draft import Draft
from ..lowering.ir import Loop, ModuleCall, Subgraph, Value, ValueTree, flat_values, free_values, single
from ..lowering.sequences import sequences, together

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def scan(
    t: Tracer,
    x: ValueTree,
    *,
    step: Module,
    start: Expr | int | None = None,
    over: str | int | None = None,
    reverse: bool = False,
) -> ValueTree:
    """Applies a stream with a state at every position of a sequence, with one set of weights: ``y_t, h_t = step(x_t, h_(t-1))``.

    The stream names what stands at a position, a vector, and the states, and returns the output and the new states:
    ``x, h -> ...``. Where it returns as many values as there are states, the first state is the output. Values of a stream
    around are the same at all positions. What does not need the state is computed faster before the scan, for all positions at
    once: ``linear(3 * c) >> scan(...)``.

    Args:
        step: the stream. Of a list that arrives, it names what stands at a position of each member.
        start: the states before the first position, one or a list: a number: zeros of this width; a module: what it makes of
            the input, ``learned(1, 64)``. By default zeros of the input's width.
        over: the axis of a grid that the sequence runs along: ``"rows"`` (each row is a sequence, along the last axis),
            ``"columns"`` (along the axis before it), or an axis by number. All other axes are sequences of their own. By default
            all tokens in a row are one sequence, prefix tokens first.
        reverse: begins at the last position.

    Returns:
        The outputs on the grid that enters.

    Raises:
        SpecError: a state changes its shape in the step; the step does not return an output and its states.

    Multiply-accumulates: those of the step, times the positions. A Python loop calls the step: `metablock.compile` makes one
    graph of it, which every position enters; ``way="whole"`` unrolls the loop.

    >>> shape_of("scan((x, h -> (x || h) >> linear(32) >> tanh), start=32)", "64x14x14")
    'tokens 14x14 x 32'
    >>> shape_of('scan((x, h -> x + h), over="rows", reverse=true)', "64x14x14")
    'tokens 14x14 x 64'
    """
    members = [single(value) for value in x] if isinstance(x, (list, tuple)) else [single(x)]
    if not members:
        raise error("`scan` runs along a sequence, an empty list arrives", hint="give it a member")
    taken = [sequences(t.ir, value, over) for value in members]
    rows = t.ir.together(*[row for row, _ in taken])
    lines = taken[0][1]
    if any(row.feature.n != rows[0].feature.n for row in rows):
        raise error(f"sequences of {' and '.join(str(row.feature.n) for row in rows)} positions", hint="all members are as long")
    place = rows[0].feature.with_(layout="vector", grid=(), prefix=0)
    states = [_start(t, x, one, rows[0]) for one in _starts(t, start, place.c)]
    positions = [t.ir.value(place.with_(c=row.c)) for row in rows]
    inside = [t.ir.value(state.feature) for state in states]
    body = _body(t, step, positions, inside)
    others = tuple(free_values(body)[len(positions) + len(inside) :])
    path = t.now.draft.add("step", body)
    whole = t.ir.value(rows[0].feature.with_(c=next(flat_values(body.output)).c))
    loop = Loop(len(rows), len(states), reverse)
    t.ir.steps.append(ModuleCall(path, (*rows, *states, *others), whole, loop=loop))
    return together(t.ir, whole, lines)


def _starts(t: Tracer, start: Arg | int | None, width: int) -> list[Arg | int]:
    """What each state starts from."""
    if start is None or isinstance(start, int):
        return [width if start is None else start]
    members = t.arguments.members(start)
    if members is None:
        return [start]
    result: list[Arg | int] = []
    for member in members:
        if member is None:
            raise error("a state is absent", start.span, "a number: zeros of this width; `learned(1, 64)`")
        number = t.evaluate.value(member.node, member.scope)
        result.append(number if type(number) is int else member)
    if not result:
        raise error("a scan without a state", start.span, "apply the module itself: it sees each token alone")
    return result


def _start(t: Tracer, x: ValueTree, start: Arg | int, row: Value) -> Value:
    """A state before the first position."""
    if isinstance(start, int):
        if start < 1:
            raise error(f"a state of {start} channels", hint="at least 1")
        shape = row.feature.with_(layout="vector", c=start, grid=(), prefix=0)
        return t.ir.inline(f"{{0}}.new_zeros(({{0}}.shape[0], {start}))", [row], shape)
    value = single(t.apply(start, x))
    if value.feature.n != 1:
        raise error(f"a state starts as {value.feature}", start.span, "one vector: `learned(1, 64)`, `global_pool >> linear(64)`")
    return t.ir.together(_vector(t, value), row)[0]


def _vector(t: Tracer, value: Value) -> Value:
    """A value of one token as a vector."""
    f = value.feature
    if f.layout == "vector":
        return value
    return t.ir.inline("{0}.flatten(1)", [value], f.with_(layout="vector", grid=(), prefix=0))


def _body(t: Tracer, step: Arg, positions: list[Value], states: list[Value]) -> Subgraph:
    """The step as a subgraph that takes what stands at a position and the states, and returns the output and the states."""
    inputs = [*positions, *states]
    holder = Subgraph(inputs=tuple(inputs), pinned=True, span=step.span)
    with t.context.push(draft=Draft(holder), unit=None, window=None):
        output = t.apply(step, inputs)
    body = holder
    if step.label is not None and list(holder.children) == [step.label] and len(holder.steps) == 1:
        child = holder.children[step.label]
        if isinstance(child, Subgraph):
            body = child
            body.inputs, body.pinned = tuple(inputs), True
    values = list(output) if isinstance(output, (list, tuple)) else [output]
    count = len(states)
    if len(values) not in (count, count + 1) or any(not isinstance(value, Value) for value in values):
        wanted = "an output and the new state" if count == 1 else f"an output and {count} new states"
        raise error(f"the step returns {len(values)} value(s)", step.span, f"it returns {wanted}: `x, h -> ... return y, h`")
    with t.context.push(draft=Draft(body)):
        results = [_result(t, value, states[0], step) for value in values]
    results = results if len(results) > count else [results[0], *results]
    for number, (before, after) in enumerate(zip(states, results[1:], strict=True)):
        if after.feature != before.feature:
            which = "the state" if count == 1 else f"state {number}"
            hint = f"end it with `linear({before.c})`, or give `start=` its width"
            raise error(f"{which} is a {before.feature} before the step and a {after.feature} behind it", step.span, hint)
    body.text, body.output = body.text or "step", results
    return body


def _result(t: Tracer, value: Value, like: Value, step: Arg) -> Value:
    """What the step returns at a position, as a vector."""
    if value.feature.n != 1:
        raise error(f"the step returns {value.feature}", step.span, "what stands at a position is a vector")
    return t.ir.together(_vector(t, value), like)[0]


def recurrence(
    t: Tracer, x: ValueTree, *, gate: Module, value: Module, over: str | int | None = None, reverse: bool = False
) -> ValueTree:
    """The linear recurrence ``h_t = gate_t * h_(t-1) + value_t`` along a sequence, element by element, from zeros.

    All positions can be computed at once, so it is no loop of :func:`scan`: state-space mixers (Mamba) and linear attention with
    decay are this, between ``outer(k, v)`` and ``inner(h, q)``.

    Args:
        gate: what of the state stays at each position; stable in ``[0, 1]``. One channel is that of all; a vector or a single
            token is that of all positions.
        value: what is added at each position.
        over: the axis of a grid that the sequence runs along: ``"rows"``, ``"columns"``, or an axis by number. All other axes are
            sequences of their own. By default all tokens in a row are one sequence, prefix tokens first.
        reverse: begins at the last position.

    Returns:
        The states on the grid of ``value``.

    Raises:
        SpecError: gate and value differ in their positions or widths.

    A multiply-accumulate for each channel and position: elementwise work, which counts of matrix products leave out. In eager
    mode on a CPU wide positions follow each other; elsewhere, and compiled, ``log2(n)`` doubling steps compute all at once. Half
    precision is computed in float32.

    Martin and Cundy 2018 (arXiv 1709.04057); S6: Gu and Dao 2023 (arXiv 2312.00752).

    >>> shape_of("recurrence(linear(c) >> sigmoid, linear(c))", "64x14x14")
    'tokens 14x14 x 64'
    """
    added, retained = single(t.apply(value, x)), single(t.apply(gate, x))
    row, lines = sequences(t.ir, added, over)
    if retained.feature.n == 1:
        one = _vector(t, retained)
        row_gate = t.ir.inline("{0}.unsqueeze(1)", [one], one.feature.with_(layout="tokens", grid=(1,)))
    else:
        row_gate, _ = sequences(t.ir, retained, over)
    row_gate, row = t.ir.together(row_gate, row)
    if row_gate.feature.n not in (1, row.feature.n) or row_gate.c not in (1, row.c):
        message = f"the gate of a recurrence is {retained.feature}, its value {added.feature}"
        raise error(message, gate.span, "as many positions and channels, or one: end one with `linear(c)`")
    name = t.now.draft.number("recurrence")
    states = t.ir.call("recurrence.Recurrence", name, [row_gate, row], row.feature, reverse=reverse)
    return together(t.ir, states, lines)


def outer(t: Tracer, x: ValueTree, *, a: Module, b: Module, heads: int = 1) -> ValueTree:
    """The outer product at each position, row by row: ``(b, ..., d), (b, ..., e) -> (b, ..., d * e)``.

    Args:
        a, b: expressions on the same input, or wires. A vector or a single token is that of all positions.
        heads: consecutive groups of channels, each with a product of its own: ``h * d`` and ``h * e`` give ``h * d * e``.

    Raises:
        SpecError: they differ in their positions; ``heads`` does not divide a width.

    >>> shape_of("outer(linear(8), linear(4))", "64x14x14")
    'tokens 14x14 x 32'
    """
    left, right = _alike(t, single(t.apply(a, x)), single(t.apply(b, x)))
    d, e = _divided(left, heads), _divided(right, heads)
    shape = (left if left.feature.n >= right.feature.n else right).feature.with_(c=heads * d * e)
    text = f"({{0}}.unflatten(-1, ({heads}, {d}, 1)) * {{1}}.unflatten(-1, ({heads}, 1, {e}))).flatten(-3)"
    return t.ir.inline(text, [left, right], shape)


def inner(t: Tracer, x: ValueTree, *, a: Module, b: Module, heads: int = 1) -> ValueTree:
    """The product of a matrix with a vector at each position: ``(b, ..., d * e), (b, ..., e) -> (b, ..., d)``.

    It reads what ``outer(v, k)`` wrote: ``inner(outer(v, k), q)`` is ``v (k' q)``.

    Args:
        a: the matrices, row by row; an expression on the same input, or a wire.
        b: the vectors. Where one of the two is a vector or a single token it is that of all positions.
        heads: consecutive groups of channels, each with a product of its own: ``h * d * e`` and ``h * e`` give ``h * d``.

    Raises:
        SpecError: they differ in their positions; the width of ``b`` does not divide that of ``a``.

    Multiply-accumulates: the width of ``a``, at each position.

    >>> shape_of("inner(linear(32), linear(4))", "64x14x14")
    'tokens 14x14 x 8'
    """
    left, right = _alike(t, single(t.apply(a, x)), single(t.apply(b, x)))
    e = _divided(right, heads)
    if left.c % (heads * e):
        message = f"matrices of {left.c} channels and vectors of {right.c}"
        raise error(message, b.span, "the width of the second divides that of the first")
    d = left.c // (heads * e)
    shape = (left if left.feature.n >= right.feature.n else right).feature.with_(c=heads * d)
    text = f"({{0}}.unflatten(-1, ({heads}, {d}, {e})) @ {{1}}.unflatten(-1, ({heads}, {e}, 1))).flatten(-3)"
    return t.ir.inline(text, [left, right], shape)


def _divided(value: Value, heads: int) -> int:
    """The channels of one head."""
    if heads < 1 or value.c % heads:
        raise error(f"{heads} heads of {value.c} channels", hint="`heads=` divides the widths of both")
    return value.c // heads


def _alike(t: Tracer, a: Value, b: Value) -> list[Value]:
    """Two values with their channels last, and axes that broadcast."""
    values = [t.ir.cast(value, "grid", "tokens", "vector") if not value.feature.prefix else value for value in (a, b)]
    values = t.ir.together(*values)
    wide = max(values, key=lambda value: value.feature.n)
    return [_at_all(t, value, wide) for value in values]


def _at_all(t: Tracer, value: Value, wide: Value) -> Value:
    """A value in the layout of another one; one vector or token with axes that broadcast over it."""
    f, wanted = value.feature, wide.feature
    if f.n == 1 and wanted.n > 1:
        axes = wanted.rank if wanted.layout == "grid" else 1
        one = _vector(t, value)
        return t.ir.inline(f"{{0}}.unflatten(0, (-1,{' 1,' * axes}))", [one], f.with_(layout="tokens", grid=(1,), prefix=0))
    if wanted.layout == "vector" or f.n == 1:
        return _vector(t, value)
    if (f.grid, f.prefix) != (wanted.grid, wanted.prefix):
        raise error(f"two shapes do not meet: {f} and {wanted}", hint="both sides must have the same extents")
    return t.ir.cast(value, wanted.layout)
