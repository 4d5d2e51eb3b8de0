"""Which operator dropped the grid of a value: what messages about layouts name."""

from __future__ import annotations

from dataclasses import replace

from ..language import ast as e
from ..language.printer import show
from ..language.registry import Operator
from .ir import Value, ValueTree, flat_values
from .places import in_library

_SHORT = 40  # characters of a call that is shown whole


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
