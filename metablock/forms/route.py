"""Routing: each sample has the best few of a list of modules."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg, Expr, Module
from ..lowering.ir import Value, ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

_MERGES = ("sum", "logsumexp")


def route(
    t: Tracer,
    x: ValueTree,
    *,
    top: int,
    experts: Expr,
    by: Expr = "global_pool",  # type: ignore[assignment]
    gate: Module | None = None,
    noise: float | None = None,
    merge: str = "sum",
    load: bool = False,
) -> ValueTree:
    """A sparse mixture of experts: each sample has the ``top`` modules of a list that score best, weighed by ``g``.

    ``y = sum_e g_e(x) expert_e(x)``, with ``g`` the softmax over the ``top`` largest logits ``gate(by(x))``, 0 for all others.

    Args:
        top: how many experts a sample has.
        experts: a list of modules on what arrives; all return the same shape. `id` lets a sample pass.
        by: what the router sees: a vector. By default the mean over all positions.
        gate: makes of it a logit an expert; by default a biased linear map.
        noise: in training the logits get normal noise, drawn from torch's generator as that of `dropout`, with the deviation
            ``softplus(W by(x) + b) + noise``. `none`: no noise, and no ``W``.
        merge: ``"sum"``; or ``"logsumexp"``: ``log(sum_e g_e exp(expert_e(x)))``, as if the outputs were logarithms.
        load: whether the weights ``g`` and the load of each expert come out too, ``y, g, load = ...``: what a loss that balances
            the experts sums over the batch. With noise, the load in training is the probability of each expert to be chosen; else
            it is 1 for the chosen experts.

    Returns:
        The shape of an expert's output; with ``load`` also two vectors with a channel for each expert.

    Raises:
        SpecError: experts that are no list, or return different shapes; ``top`` is not between 1 and their number; ``by`` gives
            no vector; ``gate`` gives another number of logits.

    All experts see all samples, and those that a sample has not chosen count nothing: shapes do not depend on data, so that one
    graph compiles and exports. A batch norm in an expert sees all samples, too. Counts of multiply-accumulates are those of a
    sparse evaluation in which all experts are chosen equally often: each expert's count times ``top`` over their number.

    Shazeer et al. 2017, Eq. 1 to 5 (arXiv 1701.06538). ``merge="logsumexp"``: Pathformer, Chen et al. 2024 (arXiv 2402.05956).

    >>> shape_of("route(2, [mlp(4), mlp(2), id])", "64x14x14")
    'tokens 14x14 x 64'
    >>> shape_of("route(1, [dw(3), dw(5)], noise=0.01, load=true)", "64x14x14")
    '[map 64 x 14x14, vector of 2, vector of 2]'
    """
    value = single(x)
    modules = _modules(t, experts)
    if not 1 <= top <= len(modules):
        raise error(f"{top} of {len(modules)} experts", hint=f"`top` is between 1 and {len(modules)}")
    if merge not in _MERGES:
        raise error(f'unknown merge "{merge}"', hint=" or ".join(f'"{word}"' for word in _MERGES))
    gates, chosen = _weights(t, value, by, gate, top, noise, len(modules))
    outputs = []
    for module in modules:
        with t.context.push(share=Fraction(top, len(modules))):
            outputs.append(single(t.apply(module, value)))
    outputs = _alike(t, outputs, experts)
    gates, *outputs = t.ir.together(gates, *outputs)
    mixture = t.ir.call("route.Mixture", "mixture", [gates, *outputs], outputs[0].feature, merge=merge)
    return [mixture, gates, chosen] if load else mixture


def _modules(t: Tracer, experts: Arg | None) -> list[Arg]:
    """The members of the list. Raises SpecError if it is none, or one of them is absent."""
    members, span = (None, None) if experts is None else (t.arguments.members(experts), experts.span)
    if not members:
        raise error("`experts` is a list of modules", span, "`route(2, [mlp(4), dw(3), id])`")
    if None in members:
        raise error("an expert is absent", span, "`id` is one that passes on what arrives")
    return [member for member in members if member is not None]


def _weights(
    t: Tracer, value: Value, by: Arg, gate: Arg | None, top: int, noise: float | None, count: int
) -> tuple[Value, Value]:
    """The weights of the experts and their load, a vector each."""
    seen = single(t.apply(by, value))
    f = seen.feature
    if f.n == 1 and f.layout in ("grid", "tokens", "map"):
        seen = t.ir.inline("{0}.flatten(1)", [seen], f.with_(layout="vector", grid=(), prefix=0))
    elif f.layout != "vector":
        raise error(f"`by` gives {f}", by.span, "the router sees a vector: end it with `global_pool`")
    logits = t.ir.call("linear", "gate", [seen], out=count) if gate is None else single(t.apply(gate, seen))
    if (logits.feature.layout, logits.c) != ("vector", count):
        span = gate.span if gate is not None else None
        raise error(f"`gate` gives {logits.feature} for {count} experts", span, f"a logit an expert: `linear({count})`")
    shape = logits.feature
    if noise is None:
        gates, chosen = t.ir.call_with_results("route.Gates", "gates", [logits], shape, (shape,), top=top)
    else:
        options = {"experts": count, "width": seen.c, "top": top, "noise": noise}
        inputs = t.ir.together(logits, seen)
        gates, chosen = t.ir.call_with_results("route.NoisyGates", "noise", inputs, shape, (shape,), **options)
    return gates, chosen


def _alike(t: Tracer, outputs: list[Value], experts: Arg) -> list[Value]:
    """The outputs in one layout. Raises SpecError if their shapes differ."""
    first = outputs[0]
    result = [first]
    for output in outputs[1:]:
        a, b = first.feature, output.feature
        vectors = a.layout == "vector", b.layout == "vector"
        if vectors[0] != vectors[1] or (a.c, a.grid, a.prefix, a.around) != (b.c, b.grid, b.prefix, b.around):
            raise error(f"experts return {a} and {b}", experts.span, "all return one shape")
        result.append(t.ir.cast(output, a.layout))
    return result
