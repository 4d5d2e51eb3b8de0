"""Channels apart, averages, and one or many modules over a list of values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr
from ..lowering.ir import Value, ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def split(t: Tracer, x: ValueTree, *modules: Expr, sizes: list[int] | None = None, parts: int | None = None) -> ValueTree:
    """Channels divided (equally, or by ``sizes``), each part through its own expression, concatenated.

    With ``parts=n`` and one expression: n copies of it, ``part`` being the number of the copy.
    """
    wire = single(x)
    if parts is not None:
        if len(modules) != 1 or modules[0] is None:
            raise error("`parts=` goes with one expression", hint="write `split(a, parts=4)`, or `split(a, b, c)`")
        branches = list(modules) * parts
    else:
        branches = list(modules)
    if sizes is None:
        if not branches or wire.c % len(branches):
            raise error(f"{len(branches)} equal parts of {wire.c} channels", hint="give `sizes=[...]`")
        sizes = [wire.c // len(branches)] * len(branches)
    if min(sizes) < 1:
        raise error(f"a part of {min(sizes)} channels", hint="each part has at least one channel")
    if len(sizes) != len(branches):
        raise error(f"{len(sizes)} sizes for {len(branches)} parts", hint="one size a part")
    outputs = []
    for number, (branch, piece) in enumerate(zip(branches, t.ir.split(wire, sizes), strict=True)):
        with t.context.push(part=number):
            value = t.apply(branch, piece, suffix=f".{number}" if parts is not None else "")
        outputs += [single(value)] if value is not None else []
    return t.ir.concat(outputs) if outputs else None


def cascade(t: Tracer, x: ValueTree, *, a: Expr, parts: int) -> ValueTree:
    """Channels divided into equal ``parts``, each through a copy of ``a`` of its own, and what it gives added to the next part.

    ``y_0 = a_0(x_0)``, ``y_i = a_i(x_i + y_(i-1))``, concatenated; ``part`` is the number of the copy. EfficientViT (arXiv
    2305.07027).
    """
    wire = single(x)
    if parts < 1 or wire.c % parts:
        raise error(f"{parts} equal parts of {wire.c} channels", hint="choose a number that divides the width")
    outputs: list[Value] = []
    for number, piece in enumerate(t.ir.split(wire, [wire.c // parts] * parts)):
        with t.context.push(part=number):
            value = t.apply(a, t.ir.binary("+", piece, outputs[-1]) if outputs else piece, suffix=f".{number}")
        if value is None:
            break
        outputs.append(single(value))
    return t.ir.concat(outputs) if outputs else None


def mean(t: Tracer, x: ValueTree, *modules: Expr) -> ValueTree:
    """The average of the outputs."""
    outputs = [single(value) for module in modules if module is not None and (value := t.apply(module, x)) is not None]
    if not outputs:
        return None
    total = outputs[0]
    for output in outputs[1:]:
        total = t.ir.binary("+", total, output)
    return t.ir.inline(f"{{0}} / {len(outputs)}", [total], total.feature)


def each(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """One module, with one set of weights, on every member of a list. The members may differ in extent, not in width."""
    if not isinstance(x, (list, tuple)):
        raise error("`each` works on a list, one value arrives", hint="apply the module itself")
    values = t.apply_once(a, list(x)) if a is not None else [None]
    return None if values and all(value is None for value in values) else values


def steps(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """The outputs after every copy of a repeat (or every item of a chain), as a list."""
    return t.results(a, x) if a is not None else None
