"""Channels apart, averages, and one or many modules over a list of values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr
from ..lowering.ir import Value, ValueTree

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def split(t: Tracer, x: ValueTree, *modules: Expr, sizes: list[int] | None = None, parts: int | None = None) -> ValueTree:
    """Channels divided (equally, or by ``sizes``), each part through its own expression, concatenated.

    With ``parts=n`` and one expression: n copies of it, ``part`` being the number of the copy.
    """
    wire = t.single(x)
    if parts is not None:
        if len(modules) != 1 or modules[0] is None:
            raise error("`parts=` goes with one expression", hint="write `split(a, parts=4)`, or `split(a, b, c)`")
        given = list(modules) * parts
    else:
        given = list(modules)
    if sizes is None:
        if not given or wire.c % len(given):
            raise error(f"{len(given)} equal parts of {wire.c} channels", hint="give `sizes=[...]`")
        sizes = [wire.c // len(given)] * len(given)
    if min(sizes) < 1:
        raise error(f"a part of {min(sizes)} channels", hint="each part has at least one channel")
    if len(sizes) != len(given):
        raise error(f"{len(sizes)} sizes for {len(given)} parts", hint="one size a part")
    outputs = []
    before = t.evaluate.place.part
    for number, (module, piece) in enumerate(zip(given, t.channels(wire, sizes), strict=True)):
        t.evaluate.place.part = number
        value = t.apply(module, piece, suffix=f".{number}" if parts is not None else "") if module is not None else None
        outputs += [t.single(value)] if value is not None else []
    t.evaluate.place.part = before
    return t.concat(outputs) if outputs else None


def cascade(t: Tracer, x: ValueTree, *, a: Expr, parts: int) -> ValueTree:
    """Channels divided into equal ``parts``, each through a copy of ``a`` of its own, and what it gives added to the next part.

    ``y_0 = a_0(x_0)``, ``y_i = a_i(x_i + y_(i-1))``, concatenated; ``part`` is the number of the copy. EfficientViT (arXiv
    2305.07027).
    """
    wire = t.single(x)
    if parts < 1 or wire.c % parts:
        raise error(f"{parts} equal parts of {wire.c} channels", hint="choose a number that divides the width")
    outputs: list[Value] = []
    before = t.evaluate.place.part
    for number, piece in enumerate(t.channels(wire, [wire.c // parts] * parts)):
        t.evaluate.place.part = number
        value = t.apply(a, t.binary("+", piece, outputs[-1]) if outputs else piece, suffix=f".{number}")
        if value is None:
            break
        outputs.append(t.single(value))
    t.evaluate.place.part = before
    return t.concat(outputs) if outputs else None


def mean(t: Tracer, x: ValueTree, *modules: Expr) -> ValueTree:
    """The average of the outputs."""
    outputs = [t.single(value) for module in modules if module is not None and (value := t.apply(module, x)) is not None]
    if not outputs:
        return None
    total = outputs[0]
    for output in outputs[1:]:
        total = t.binary("+", total, output)
    return t.do(f"{{0}} / {len(outputs)}", [total], total.feature)


def each(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """One module, with one set of weights, on every member of a list. The members may differ in extent, not in width."""
    if not isinstance(x, (list, tuple)):
        raise error("`each` works on a list, one value arrives", hint="apply the module itself")
    values = t.once(a, list(x)) if a is not None else [None]
    return None if values and all(value is None for value in values) else values


def steps(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """The outputs after every copy of a repeat (or every item of a chain), as a list."""
    return t.outputs(a, x) if a is not None else None
