"""Moving averages of modules: momentum encoders, teachers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import error
from ..language import ast as e
from ..language.scope import Bound, Closure, Scope
from ..lowering.arguments import Expr
from ..lowering.ir import ValueTree, width
from ..lowering.once import Once, of_table

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def ema(t: Tracer, x: ValueTree, *, a: Expr, momentum: float, end: float | None = None) -> ValueTree:
    """A copy of a module that is built once, whose weights follow it: ``m * own + (1 - m) * its``, once before each step.

    Its weights begin equal and get no gradient; it has running statistics of its own.

    Args:
        a: the name of a module in `shared`.
        momentum: ``m`` at the beginning of the training.
        end: ``m`` at its end, which a half cosine leads to; by default ``m`` stays.

    Returns:
        What the copy makes of the input.

    Raises:
        SpecError: ``a`` is not the name of a module in `shared`.

    Momentum encoder of MoCo, He et al. 2020, Eq. 2 (arXiv 1911.05722); its schedule: BYOL, Grill et al. 2020 (arXiv 2006.07733).

    >>> shape_of("(shared base = pw(32) shared slow = ema(base, 0.99) return base || slow)", "64x14x14")
    'map 64 x 14x14'
    """
    once = t.evaluate.names.find(a.node.id, a.scope, a.span) if a is not None and isinstance(a.node, e.Name) else None
    if isinstance(once, Bound) and once.table.endswith("shared"):
        once = of_table(once)
    if not isinstance(once, Once):
        raise error("`ema` follows a module that is built once", a.span if a else None, "name one of `shared`: `ema(base, 0.99)`")
    for number in (momentum, momentum if end is None else end):
        if not 0 <= number <= 1:
            raise error(f"a momentum of {number:g}", a.span, "write a number from 0 to 1")
    t.network.average(once, a.node, momentum, momentum if end is None else end)
    t.names.read(once.node)
    with t.context.push(trainable=False):
        return t.emit(once.node, _apart(once.scope).with_c(width(x)), x)


def _apart(scope: Scope) -> Scope:
    """The scope with modules of its own for those in it that are built once."""
    values = {
        name: Closure(value.node, _apart(value.scope)) if isinstance(value, Once) else value for name, value in scope.vars.items()
    }
    return replace(scope, vars=values)
