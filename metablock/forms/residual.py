"""Residuals, stochastic depth, frozen parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Expr, Lazy
from ..lowering.ir import Value, ValueTree

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
    name = t.given.get("scale") or t.named("scale")
    branch = t.apply(a, x) if a is not None else None
    kept = t.apply(skip, x) if skip is not None else None
    if branch is None:
        return kept
    if isinstance(scale, float):
        init = scale
        branch = t.alike(branch, lambda wire: t.leaf("scale", name, [wire], init=init))
    elif scale is not None:
        by = scale
        branch = t.alike(branch, lambda wire: t.single(t.apply(by, wire)))
    if kept is None:
        return branch
    branch = drop_path(t, branch, rate=drop)
    if isinstance(kept, Value) and isinstance(branch, Value):
        return t.binary("+", kept, branch)
    if not isinstance(kept, (list, tuple)) or not isinstance(branch, (list, tuple)) or len(kept) != len(branch):
        raise error(f"`res` adds {_count(branch)} to {_count(kept)}", hint="as many leave the branch as arrive: `each(a)`")
    return [t.binary("+", t.single(one), t.single(other)) for one, other in zip(kept, branch, strict=True)]


def _count(value: ValueTree) -> str:
    return f"a list of {len(value)}" if isinstance(value, (list, tuple)) else "one value"


def drop_path(t: Tracer, x: ValueTree, *, rate: Lazy | None = None) -> ValueTree:
    """Stochastic depth (arXiv 1603.09382): in training a sample's branch is left out with probability ``rate``.

    The rate may differ from block to block without making their code differ. A rate that is written as ``0`` is no module. Of a
    list all members are left out, or none.
    """
    value = t.rate(rate)
    if value is None or x is None:
        return x
    if not 0 <= value < 1:
        raise error(f"a drop rate of {value}", rate.span if rate else None, "rates are between 0 and 1")
    if isinstance(x, Value):
        return t.leaf("drop_path.DropPath", t.named("drop"), [x], rate=float(value))
    members = [t.single(member) for member in x]
    one = members[0].feature.with_(layout="vector", c=1, grid=(), prefix=0)
    ones = t.do("{0}.new_ones(({0}.shape[0], 1))", members[:1], one)
    keep = t.leaf("drop_path.DropPath", t.named("drop"), [ones], rate=float(value))
    return [t.binary("*", member, keep) for member in members]


def frozen(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """``a``, counted but not trained."""
    before, t.frozen = t.frozen, True
    try:
        return t.apply(a, x)
    finally:
        t.frozen = before


def transposed(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """``a`` with tokens and channels exchanged: ``c`` is the number of tokens inside."""
    wire = t.to(t.single(x), "tokens")
    f = wire.feature
    turned = t.do("{0}.transpose(1, 2)", [wire], f.with_(c=f.n, grid=(f.c,), prefix=0))
    inside = t.apply(a, turned)
    if inside is None:
        return None
    result = t.to(t.single(inside), "tokens")
    if result.feature.grid != (f.c,):
        hint = "what is inside must keep the number of channels"
        raise error(f"`transposed` gets {result.feature} back, {f.c} channels went in", hint=hint)
    n = result.feature.c
    same = n == f.n
    shape = f.with_(prefix=f.prefix if same else 0, grid=f.grid if same else (n,))
    back = t.do("{0}.transpose(1, 2)", [result], shape)
    return t.to(back, "grid") if same and not f.prefix else back
