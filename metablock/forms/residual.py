"""Residuals, stochastic depth, frozen parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..language import ast as e
from ..language.scope import Bound, Scope
from ..lowering.arguments import Expr, Lazy
from ..lowering.ir import Value, ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def res(
    t: Tracer,
    x: ValueTree,
    *,
    a: Expr,
    skip: Expr = "id",  # type: ignore[assignment]
    scale: Expr | float | None = None,
    drop: Lazy | None = None,
) -> ValueTree:
    """``skip(x) + drop_path(scale * a(x))``.

    A number for ``scale`` is the initial value of a learned vector, one value a channel. Without ``drop`` the scoped name
    ``drop`` counts (a column, or 0). Where ``a`` is ``none`` only the skip is left; where ``skip`` is ``none`` only the branch,
    which is then never dropped. Lists are added member by member: they share the vector, and a sample's branch is dropped in
    all of them or in none.
    """
    name = t.now.labels.get("scale") or t.now.draft.number("scale")
    branch = t.apply(a, x) if a is not None else None
    shortcut = t.apply(skip, x) if skip is not None else None
    if branch is None:
        return shortcut
    if isinstance(scale, float):
        init = scale
        branch = t.ir.alike(branch, lambda value: t.ir.call("scale", name, [value], init=init))
    elif scale is not None:
        by = scale
        branch = t.ir.alike(branch, lambda value: single(t.apply(by, value)))
    if shortcut is None:
        return branch
    branch = drop_path(t, branch, rate=drop)
    if isinstance(shortcut, Value) and isinstance(branch, Value):
        return t.ir.binary("+", shortcut, branch)
    if not isinstance(shortcut, (list, tuple)) or not isinstance(branch, (list, tuple)) or len(shortcut) != len(branch):
        raise error(f"`res` adds {_count(branch)} to {_count(shortcut)}", hint="as many leave the branch as arrive: `each(a)`")
    return [t.ir.binary("+", single(one), single(other)) for one, other in zip(shortcut, branch, strict=True)]


def _count(value: ValueTree) -> str:
    return f"a list of {len(value)}" if isinstance(value, (list, tuple)) else "one value"


def drop_path(t: Tracer, x: ValueTree, *, rate: Lazy | None = None) -> ValueTree:
    """Stochastic depth (arXiv 1603.09382): in training a sample's branch is left out with probability ``rate``.

    The rate may differ from block to block without making their code differ. A rate that is written as ``0`` is no module. Of a
    list all members are left out, or none.
    """
    value = _rate(t, rate)
    if value is None or x is None:
        return x
    if not 0 <= value < 1:
        raise error(f"a drop rate of {value}", rate.span if rate else None, "rates are between 0 and 1")
    if isinstance(x, Value):
        return t.ir.call("drop_path.DropPath", t.now.draft.number("drop"), [x], rate=float(value))
    members = [single(member) for member in x]
    one = members[0].feature.with_(layout="vector", c=1, grid=(), prefix=0)
    ones = t.ir.inline("{0}.new_ones(({0}.shape[0], 1))", members[:1], one)
    keep = t.ir.call("drop_path.DropPath", t.now.draft.number("drop"), [ones], rate=float(value))
    return [t.ir.binary("*", member, keep) for member in members]


def _rate(t: Tracer, rate: Lazy | None) -> float | None:
    """A drop rate: the argument, or what ``drop`` means here; None where it is absent, or written as 0."""
    node, scope = (e.Name("drop"), Scope()) if rate is None else (rate.node, rate.scope)
    literal: e.Node = node
    if rate is None:
        meaning, stage = t.evaluate.names.find("drop", scope, None), t.now.stage
        if not isinstance(meaning, Bound) or (meaning.table == "columns" and stage is None):
            return None
        if meaning.table == "columns" and stage is not None:
            literal = t.evaluate.entry(meaning.binding, stage)
    value = t.evaluate.value(node, scope)
    if value is None or (isinstance(literal, e.Number) and literal.value == 0):
        return None
    if not isinstance(value, (int, float)):
        raise error("a drop rate is a number", node.span, "`drop: ramp(0.1)` is a column; `res(..., drop=0.1)` an argument")
    return float(value)


def frozen(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """``a``, counted but not trained."""
    with t.context.push(trainable=False):
        return t.apply(a, x)


def transposed(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """``a`` with tokens and channels exchanged: ``c`` is the number of tokens inside."""
    value = t.ir.cast(single(x), "tokens")
    f = value.feature
    turned = t.ir.inline("{0}.transpose(1, 2)", [value], f.with_(c=f.n, grid=(f.c,), prefix=0))
    inside = t.apply(a, turned)
    if inside is None:
        return None
    result = t.ir.cast(single(inside), "tokens")
    if result.feature.grid != (f.c,):
        hint = "what is inside must keep the number of channels"
        raise error(f"`transposed` gets {result.feature} back, {f.c} channels went in", hint=hint)
    n = result.feature.c
    same = n == f.n
    shape = f.with_(prefix=f.prefix if same else 0, grid=f.grid if same else (n,))
    back = t.ir.inline("{0}.transpose(1, 2)", [result], shape)
    return t.ir.cast(back, "grid") if same and not f.prefix else back
