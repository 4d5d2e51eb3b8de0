"""The larger or the smaller of several outputs, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..language.arithmetic import is_real
from ..lowering.arguments import Expr
from ..lowering.combine import shifted
from ..lowering.ir import Value, ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def maximum(t: Tracer, x: ValueTree, *modules: Expr) -> ValueTree:
    """The largest of several outputs, element by element: ``max(a(x), b(x), ...)``.

    Args:
        modules: expressions on the same input, wires, or numbers: ``maximum(id, 0)``. One that is `none` does not count.

    Returns:
        The shape that ``a + b`` has: a vector, a single token or a single channel is broadcast.

    Raises:
        SpecError: the outputs differ in extents or width; numbers alone.

    >>> shape_of("maximum(dw(3), global_pool, 0)", "64x14x14")
    'map 64 x 14x14'
    """
    return _extreme(t, x, modules, "maximum", "min")


def minimum(t: Tracer, x: ValueTree, *modules: Expr) -> ValueTree:
    """The smallest of several outputs, element by element: ``min(a(x), b(x), ...)``.

    Args:
        modules: expressions on the same input, wires, or numbers: ``minimum(id, 6)``. One that is `none` does not count.

    Returns:
        The shape that ``a + b`` has: a vector, a single token or a single channel is broadcast.

    Raises:
        SpecError: the outputs differ in extents or width; numbers alone.

    >>> shape_of("minimum(linear(64), id)", "64x14x14")
    'tokens 14x14 x 64'
    """
    return _extreme(t, x, modules, "minimum", "max")


def _extreme(t: Tracer, x: ValueTree, modules: tuple[Expr | None, ...], name: str, bound: str) -> ValueTree:
    """The extreme of several outputs; ``bound`` is the argument of ``clamp`` by which a number takes part."""
    numbers: list[float] = []
    outputs: list[Value] = []
    for module in modules:
        if module is None:
            continue
        number = t.evaluate.value(module.node, module.scope)
        if is_real(number) and not isinstance(number, bool):
            numbers.append(number)
        elif (output := t.apply(module, x)) is not None:
            outputs.append(single(output))
    if not outputs:
        if numbers:
            raise error(f"`{name}` of numbers alone", hint=f"`{name[:3]}(a, b)` is that of numbers")
        return None
    total = outputs[0]
    for output in outputs[1:]:
        total = t.ir.binary(name, total, output)
    if numbers:
        total = shifted(t, f"{{0}}.clamp({bound}={(max if name == 'maximum' else min)(numbers)!r})", total)
    return total
