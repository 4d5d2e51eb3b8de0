"""Residuals, stochastic depth, frozen parts, channels as tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import error
from ..language import ast as e
from ..language.scope import Bound, Scope
from ..lowering.arguments import Expr, Lazy
from ..lowering.ir import Value, ValueTree, mapped, single

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
    """Residual connection: ``skip(x) + drop_path(scale * a(x))``.

    A list is added member by member: the members share the learned vector of ``scale``, and a sample loses its branch in all
    members or in none.

    Args:
        a: the branch. `none`: only the skip is left.
        skip: the shortcut. `none`: only the branch is left, and it is never dropped.
        scale: a number: the initial value of a learned vector, one factor a channel (LayerScale, arXiv 2103.17239). A module: it
            is applied to the branch's output.
        drop: the rate of :func:`drop_path`; by default what the name ``drop`` means here, usually a column, or else 0.

    Returns:
        The shape of the skip and the branch, which have to match.

    Raises:
        SpecError: skip and branch differ in extents, in width, or in their numbers of values.

    Identity shortcuts: He et al. 2016, Eq. 1 (arXiv 1512.03385).

    >>> shape_of("res(layer_norm >> attention(4), scale=1e-5, drop=0.1)", "64x14x14")
    'map 64 x 14x14'
    >>> shape_of("res(conv(128, 3, stride=2), skip=conv(128, stride=2))", "64x14x14")
    'map 128 x 7x7'
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
    """How messages count the values of a branch."""
    return f"a list of {len(value)}" if isinstance(value, (list, tuple)) else "one value"


def drop_path(t: Tracer, x: ValueTree, *, rate: Lazy | None = None) -> ValueTree:
    """Stochastic depth: in training, zeroes a sample's branch with probability ``rate``, else scales it by ``1 / (1 - rate)``.

    The rate may differ from block to block: it is a buffer, so blocks still share their code.

    Args:
        rate: the probability; by default what the name ``drop`` means here, usually a column, or else 0. A rate written as ``0``
            emits no module.

    Returns:
        The shape that enters. Of a list, a sample loses all members or none.

    Raises:
        SpecError: the rate is not a number, or not in ``[0, 1)``.

    Huang et al. 2016, Eq. 2 (arXiv 1603.09382).

    >>> shape_of("x -> x + (x >> mlp(4) >> drop_path(0.1))", "64x14x14")
    'map 64 x 14x14'
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
    """A drop rate: the argument, or what ``drop`` means here; None if it is absent or written as 0."""
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
    """Applies ``a`` without training it: its parameters count, but get no gradient.

    Args:
        a: any module.

    Returns:
        The output of ``a``.

    >>> shape_of("frozen(conv(128, 3, stride=2) >> batch_norm)", "64x14x14")
    'map 128 x 7x7'
    """
    with t.context.push(trainable=False):
        return t.apply(a, x)


def constant(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """Applies ``a`` with weights that are constants: buffers, which a state dict has, and no parameters.

    A batch norm inside normalises by its running averages in training, too, and never changes them: the frozen batch norm of
    detectors, ``(x - running_mean) / sqrt(running_var + eps) * weight + bias``, four buffers by these names. What other modules
    do in training alone (dropout) they do here, too. ``frozen(a)`` keeps parameters, and the mode of a norm.

    Args:
        a: any module without a recurrent layer of torch's.

    Returns:
        The output of ``a``.

    Raises:
        SpecError: ``lstm`` or ``gru`` inside.

    DETR, Carion et al. 2020 (arXiv 2005.12872), and torchvision's ``FrozenBatchNorm2d``.

    >>> shape_of("conv(128, 3, stride=2, bias=false) >> constant(batch_norm)", "64x14x14")
    'map 128 x 7x7'
    """
    with t.context.push(constant=True):
        return t.apply(a, x)


def stop(t: Tracer, x: ValueTree) -> ValueTree:
    """What arrives, as a constant: no gradient flows back through it. ``x >> stop``; a list member by member.

    The values are the same. :func:`frozen` keeps weights from being trained, and lets gradients through.

    >>> shape_of("stop", "64x14x14")
    'map 64 x 14x14'
    """
    return mapped(x, lambda value: t.ir.inline("{0}.detach()", [value], value.feature))


def transposed(t: Tracer, x: ValueTree, *, a: Expr) -> ValueTree:
    """Applies ``a`` to channels as tokens: ``(b, N, c) -> (b, c, N)``, ``a``, and back.

    Inside, `c` is the number of tokens (prefix tokens included), and the channels are tokens in one dimension.

    Args:
        a: the module. It has to keep the number of its tokens, which are the channels outside.

    Returns:
        Tokens on the grid that enters; in one dimension, if ``a`` changes their number.

    Raises:
        SpecError: ``a`` changes the number of channels.

    Token mixing of MLP-Mixer, Tolstikhin et al. 2021, Eq. 1 (arXiv 2105.01601).

    >>> shape_of("transposed(linear(2 * c) >> gelu >> linear(c))", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("transposed(linear(10))", "64x14x14")
    'tokens 10 x 64'
    """
    value = t.ir.cast(single(x), "tokens")
    f = value.feature
    turned = t.ir.inline("{0}.transpose(1, 2)", [value], f.with_(c=f.n, grid=(f.c,), prefix=0))
    with t.context.push(turned=True):
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
