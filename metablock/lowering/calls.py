"""What is said about a call of an operator: what may not be meant about it, and that it dropped the grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import Problem
from ..language import ast as e
from ..language.call_checks import pairs
from ..language.printer import show
from ..language.registry import Operator
from ..language.scope import Scope, Word
from .evaluate import Evaluator
from .ir import Value, ValueTree, flat_values, width
from .places import in_library

_SHORT = 40  # characters of a call that is shown whole
_PARTS = ("groups", "heads")  # arguments that divide the width that arrives


def note_doubts(
    known: dict[object, Problem],
    operator: Operator,
    nodes: tuple[e.Node, e.Node],
    values: Mapping[str, Any],
    scope: Scope,
    x: ValueTree,
    evaluate: Evaluator,
) -> None:
    """Adds what is allowed about a call, but may not be meant: one of a kind for each place.

    Args:
        known: what was noted so far.
        operator: the operator.
        nodes: its call, or its name alone; and the expression of the spec that stands for it.
        values: its arguments by name.
        scope: what the names in its arguments mean.
        x: what enters it.
        evaluate: knows what names mean.
    """
    call, use = nodes
    place = use if in_library(call.span) else call
    for kind, message, hint in (*_padding(operator, values, x), *_frozen_width(operator, call, values, scope, x, evaluate)):
        span = place.span
        key = (kind, span and (span.text.name, span.start, span.end))
        known.setdefault(key, Problem(message, span, hint))


def _padding(operator: Operator, values: Mapping[str, Any], x: ValueTree) -> Iterator[tuple[str, str, str]]:
    """The default padding is nothing where the stride is larger than the kernel; other code pads by half the kernel."""
    params = {param.name: param.default for param in operator.schema.params}
    if not {"kernel", "stride", "padding"} <= params.keys() or operator.name == "deconv" or not isinstance(x, Value):
        return
    kernel, stride, padding, dilation = (
        values.get(name, params.get(name, 1)) for name in ("kernel", "stride", "padding", "dilation")
    )
    if padding is not None:
        return
    rank = x.feature.rank
    kernels, strides, dilations = (_each(value, rank) for value in (kernel, stride, dilation))
    for k, s, d in zip(kernels, strides, dilations, strict=False):
        extent = d * (k - 1) + 1
        if s > extent >= 3:
            message = f"the default padding is 0 where the stride ({s}) is larger than the kernel ({extent})"
            yield "padding", message, f"write `padding={(extent - 1) // 2}`, as most code has it, or `padding=0`"
            return


def _each(value: Any, rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else list(value)


def _frozen_width(
    operator: Operator, call: e.Node, values: Mapping[str, Any], scope: Scope, x: ValueTree, evaluate: Evaluator
) -> Iterator[tuple[str, str, str]]:
    """Groups, heads, or the width of a convolution with groups, that are computed from `c` where another width arrives."""
    arriving, c = width(x), scope.c
    if not isinstance(call, e.Call) or c is None or arriving is None or arriving == c:
        return
    counted = {*_PARTS, "out"} if values.get("groups", 1) != 1 else {*_PARTS}
    for argument, param in pairs(operator, call.args):
        if param is not None and param.name in counted and any(_is_c(node) for node in e.walk(argument.value)):
            meaning = "`c` is the width at the start of the chain"
            message = f"{meaning}, {c}, and {arriving} channels arrive at `{param.name}={show(argument.value)}`"
            if isinstance(evaluate.names.find("w", scope, None), Word):
                sure = (
                    f"`w // {arriving // c}`"
                    if not arriving % c
                    else f"`{c // arriving} * w`"
                    if not c % arriving
                    else "a number"
                )
                hint = f"write `w` for the width that arrives; {sure} means {c} without doubt"
            else:
                hint = "put the operator into a binding of its own: there `c` is the width that arrives"
            yield "c", message, hint
            return


def _is_c(node: e.Node) -> bool:
    return isinstance(node, e.Name) and node.id == "c"


def noted(x: ValueTree, output: ValueTree, operator: Operator, node: e.Node) -> ValueTree:
    """The output of an operator; if it has no grid of several axes any more, and what entered had, it says so.

    Args:
        x: what entered.
        output: what came out. An operator inside another one has noted itself already.
        operator: the operator.
        node: its name or call in the spec.
    """
    if not isinstance(output, Value) or output.feature.rank > 1 or output.feature.layout in ("order", "table"):
        return output
    entered = [value.feature for value in flat_values(x)]
    if not operator.source and all(f.rank <= output.feature.rank for f in entered):
        return output
    known = output.feature.ungridded
    if known is not None and not operator.source and known not in {f.ungridded for f in entered}:
        return output
    verb = "has no grid" if operator.source else "dropped the grid"
    return replace(output, feature=output.feature.with_(ungridded=f"`{_call(node)}`{_at(node)} {verb}"))


def _call(node: e.Node) -> str:
    text = show(node)
    if len(text) > _SHORT and isinstance(node, e.Call):
        return f"{show(node.func)}(...)"
    return text


def _at(node: e.Node) -> str:
    """The place of a node in the words of a sentence; nothing in the standard library, which nobody has open."""
    if node.span is None or in_library(node.span):
        return ""
    line, _ = node.span.text.place(node.span.start)
    return f" in `{node.span.text.name}`" if node.span.text.name.startswith("-") else f" at line {line}"
