"""Losses in the language: streams of a `loss` section end in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import error
from ..lowering.arguments import Expr, Module
from ..lowering.ir import Value, ValueTree, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


def cross_entropy(
    t: Tracer,
    x: ValueTree,
    *,
    target: Module,
    over: str,
    smoothing: float = 0.0,
    spread: str = "all",
    ignore: int | None = None,
    weight: list[float] | None = None,
    hard: bool = False,
    temperature: float = 1.0,
    where: Expr | None = None,
) -> ValueTree:
    """Cross entropy of logits with classes, or with distributions: one number.

    Args:
        target: ids, one a position (`label`), or distributions over the classes (`target`).
        over: what the sum is divided by: ``"tokens"``: the positions that are not ignored, by their weights (torch's mean);
            ``"all"``: all positions, ignored ones too (mmseg's); ``"batch"``: the examples; ``"sum"``: nothing.
        smoothing: label smoothing.
        spread: over ``"all"`` classes (torch, timm), or over the ``"others"`` (fairseq).
        ignore: an id of positions without a target.
        weight: a weight a class.
        hard: distributions or a teacher's logits stand for their largest entry.
        temperature: logits are divided by it.
        where: a channel, a position each: those with 0 do not count.

    Raises:
        SpecError: another number of classes or positions; a word that ``over`` or ``spread`` does not know.

    >>> shape_of('cross_entropy(softmax, over="batch", smoothing=0.1)', "64x14x14")
    'vector of 1'
    """
    _word("over", over, ("tokens", "all", "batch", "sum"))
    _word("spread", spread, ("all", "others"))
    logits, wanted = _met(t, x, target)
    counted = t.apply(where, x)
    chosen = [] if counted is None else [_one_a_position(t, single(counted), logits, where)]
    if weight is not None and len(weight) != logits.c:
        raise error(f"{len(weight)} weights for {logits.c} classes", hint="one a class")
    arguments = {"smoothing": smoothing, "spread": spread, "ignore": ignore, "weight": weight, "hard": hard}
    return _call(t, "CrossEntropy", "cross_entropy", [logits, wanted, *chosen], over=over, temperature=temperature, **arguments)


def binary_cross_entropy(
    t: Tracer,
    x: ValueTree,
    *,
    target: Module,
    over: str,
    smoothing: float = 0.0,
    pos_weight: list[float] | float | None = None,
) -> ValueTree:
    """Binary cross entropy of each class by itself, from logits: one number.

    Args:
        target: ids (`label`), or a number in [0, 1] for each class (`target`).
        over: what the sum is divided by: ``"all"`` entries, the ``"batch"``, or nothing (``"sum"``).
        smoothing: of ids: ``1 - s + s / K`` on their class, ``s / K`` on the others.
        pos_weight: the weight of the positive part.

    Raises:
        SpecError: another number of classes or positions; a word that ``over`` does not know.

    >>> shape_of('binary_cross_entropy(sigmoid, over="all")', "64x14x14")
    'vector of 1'
    """
    _word("over", over, ("all", "batch", "sum"))
    inputs = _met(t, x, target)
    return _call(t, "BinaryCrossEntropy", "binary_cross_entropy", inputs, over=over, smoothing=smoothing, pos_weight=pos_weight)


def focal(t: Tracer, x: ValueTree, *, target: Module, over: str, alpha: float = 0.25, gamma: float = 2.0) -> ValueTree:
    """Focal loss of each class by itself, from logits (RetinaNet, arXiv 1708.02002): one number.

    Args:
        target: ids (`label`), or a number in [0, 1] for each class (`target`).
        over: what the sum is divided by: ``"all"`` entries, the ``"positives"``, the ``"batch"``, or nothing (``"sum"``).
        alpha: weight of positive entries; -1: no weights.
        gamma: how fast entries that are right lose their weight.

    Raises:
        SpecError: another number of classes or positions; a word that ``over`` does not know.

    >>> shape_of('focal(sigmoid, over="all")', "64x14x14")
    'vector of 1'
    """
    _word("over", over, ("all", "positives", "batch", "sum"))
    return _call(t, "FocalLoss", "focal", _met(t, x, target), over=over, alpha=alpha, gamma=gamma)


def distill(t: Tracer, x: ValueTree, *, teacher: Module, over: str, temperature: float = 1.0) -> ValueTree:
    """Kullback-Leibler divergence from a teacher's logits at a temperature, times its square: one number.

    Args:
        teacher: logits over the same classes; they get no gradient.
        over: what the sum is divided by: ``"all"`` entries (DeiT), the ``"batch"``, or nothing (``"sum"``).
        temperature: of both softmaxes.

    Raises:
        SpecError: another number of classes or positions; a word that ``over`` does not know.

    >>> shape_of('distill(linear(c), over="batch", temperature=3)', "64x14x14")
    'vector of 1'
    """
    _word("over", over, ("all", "batch", "sum"))
    return _call(t, "DistillationLoss", "distill", _met(t, x, teacher), over=over, temperature=temperature)


def info_nce(t: Tracer, x: ValueTree, *, keys: Module, temperature: float = 1.0) -> ValueTree:
    """Contrastive loss of a batch: of all keys, each query has to find that of its own example. One number, a mean.

    Args:
        keys: vectors as wide as those that arrive; of all processes, without a gradient. Neither is normalised here.
        temperature: divides the products.

    Raises:
        SpecError: other widths.

    >>> shape_of("global_pool >> info_nce(linear(c), 0.2)", "64x14x14")
    'vector of 1'
    """
    queries = t.ir.cast(single(x), "vector")
    others = t.ir.cast(single(t.apply(keys, x)), "vector")
    if queries.c != others.c:
        raise error(f"queries of {queries.c} channels meet keys of {others.c}", keys.span, "project both to one width")
    return _call(t, "InfoNce", "info_nce", [queries, others], temperature=temperature)


def average(t: Tracer, x: ValueTree, *, over: str, weight: Expr | None = None) -> ValueTree:
    """All entries as one number: their sum, divided by what ``over`` says.

    Args:
        over: ``"all"`` entries, the sum of the weights (``"weight"``), the ``"batch"``, or nothing (``"sum"``).
        weight: a channel, a token each: it multiplies the mean over the channels of its position.

    Raises:
        SpecError: ``over="weight"`` without a weight; a weight with more channels, or on other tokens.

    >>> shape_of('average(over="all")', "64x14x14")
    'vector of 1'
    """
    _word("over", over, ("all", "weight", "batch", "sum"))
    value = t.ir.cast(single(x), "grid", "tokens", "vector")
    scale = t.apply(weight, x)
    if scale is None:
        if over == "weight":
            raise error('`over="weight"` divides by weights, and there are none', hint="give them: `weight=mask`")
        return _call(t, "AverageLoss", "average", [value], over=over)
    return _call(t, "AverageLoss", "average", [value, _one_a_position(t, single(scale), value, weight)], over=over)


def _one_a_position(t: Tracer, value: Value, over: Value, arg: Expr | None) -> Value:
    """A value in the layout of another one. Raises SpecError unless it has one channel at each of its positions."""
    factor = t.ir.cast(value, over.feature.layout)
    if factor.c != 1 or (factor.feature.grid, factor.feature.prefix) != (over.feature.grid, over.feature.prefix):
        place = arg.span if arg is not None else None
        raise error(f"a weight of {factor.feature} for {over.feature}", place, "one channel a position")
    return factor


def _met(t: Tracer, x: ValueTree, target: Any) -> list[Value]:
    """Logits, channels last, and their targets. Raises SpecError if the two do not belong together."""
    logits = t.ir.cast(single(x), "vector") if single(x).feature.layout == "vector" else t.ir.cast(single(x), "grid", "tokens")
    wanted = single(t.apply(target, x))
    f, other = logits.feature, wanted.feature
    if other.layout != "ids":
        wanted = t.ir.cast(wanted, f.layout)
        other = wanted.feature
    if other.c != f.c:
        raise error(f"logits of {f.c} classes meet targets of {other.c}", target.span, "end the network with as many classes")
    rows = (f.prefix, f.grid) if f.layout != "vector" else (0, ())
    if (other.prefix, other.grid) != rows and not (other.layout == "ids" and rows == (0, (1,)) and not other.grid):
        raise error(f"targets of {other} for logits of {f}", target.span, "one target a position")
    return [logits, wanted]


def _call(t: Tracer, cls: str, name: str, inputs: list[Value], **args: Any) -> Value:
    return t.ir.call(f"losses.{cls}", t.now.draft.number(name), inputs, **args)


def _word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise error(f'`{name}` is "{word}"', hint=f"write one of {', '.join(known)}")
