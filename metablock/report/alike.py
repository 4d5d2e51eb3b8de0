"""Texts of parts with the numbers that they have, and one text for several parts that differ in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from ..errors import SpecError
from ..language import ast as e
from ..language.call_checks import pairs
from ..language.parser import expression
from ..language.printer import number, show
from ..language.registry import OPERATORS

# So many numbers are listed, more are a range.
_LISTED = 3

# The calls of a part, by their texts: their arguments' values by name, None where they differ.
Numbers = Mapping[str, Mapping[str, Any] | None]


def with_numbers(text: str, numbers: Numbers) -> str:
    """The text of an expression in which arguments of operators that are numbers or words are computed.

    >>> with_numbers("id >> dw(2 * k) >> conv(n, k)", {"conv(n, k)": {"out": 8, "kernel": 3}})
    'id >> dw(2 * k) >> conv(8, 3)'
    """
    node = _parsed(text)
    return text if node is None or not numbers else show(_computed(node, numbers))


def one_text(texts: Sequence[str]) -> str | None:
    """One text for expressions that differ in numbers or words alone; None for others.

    >>> one_text(["drop_path(0.0)", "drop_path(0.02)", "drop_path(0.04)"]), one_text(["window(7, a, 0)", "window(7, a, 3)"])
    ('drop_path(0.00-0.04)', 'window(7, a, 0 or 3)')
    >>> one_text(["relu", "gelu"])
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) == 1:
        return distinct[0]
    nodes = [_parsed(text) for text in distinct]
    if any(node is None for node in nodes):
        return None
    merged = _merged([node for node in nodes if node is not None])
    return show(merged) if merged is not None else None


def several(values: Sequence[int | float | str]) -> str:
    """Numbers or words in a few characters: up to three of them, or their range.

    >>> several([0, 3, 0, 3]), several([0, 1, 2, 3]), several([0.0, 0.018, 0.036]), several([1e-6, 1e-5])
    ('0 or 3', '0-3', '0.00-0.04', '1e-6 or 1e-5')
    """
    distinct = list(dict.fromkeys(values))
    ordered = sorted(value for value in distinct if isinstance(value, (int, float)) and not isinstance(value, bool))
    if len(ordered) < len(distinct):  # words
        return " or ".join(_short(value) for value in distinct)
    whole = all(isinstance(value, int) for value in ordered)
    if len(ordered) <= (_LISTED if whole else 2) and all(len(_short(value)) <= 4 for value in ordered):
        return " or ".join(_short(value) for value in ordered)
    low, high = ordered[0], ordered[-1]
    if whole:
        return f"{low}-{high}"
    ends = (f"{low:.2f}", f"{high:.2f}")
    return "-".join(ends) if ends[0] != ends[1] else f"{number(float(f'{low:.3g}'))}-{number(float(f'{high:.3g}'))}"


def _short(value: int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, (int, float)) else value


def _parsed(text: str) -> e.Node | None:
    try:
        return expression(text)
    except SpecError:  # a part's name, a text that was shortened
        return None


def _computed(node: e.Node, numbers: Numbers) -> e.Node:
    """The expression with the values of its calls."""
    if isinstance(node, e.Call):
        values = numbers.get(show(node)) or {}
        args = tuple(_argument(argument, name, values) for argument, name in zip(node.args, _names(node), strict=True))
        node = replace(node, args=args)
    return _rebuilt(node, lambda child: _computed(child, numbers))


def _argument(argument: e.Argument, name: str | None, values: Mapping[str, Any]) -> e.Argument:
    value = _node(values[name]) if name is not None and name in values else None
    return argument if value is None else replace(argument, value=value)


def _names(call: e.Call) -> list[str | None]:
    """The parameters of a call's arguments, None for one that takes any number."""
    operator = OPERATORS.get(call.func.id) if isinstance(call.func, e.Name) else None
    try:
        names = [None if param is None else param.name for _, param in pairs(operator, call.args)] if operator else []
    except SpecError:
        names = []
    return names or [None] * len(call.args)


def _node(value: Any) -> e.Node | None:
    """A value as an expression; None for one that a spec does not write so."""
    if isinstance(value, bool) or value is None:
        return e.Name({True: "true", False: "false", None: "none"}[value])
    if isinstance(value, (int, float)):
        return e.Number(value) if value >= 0 else e.Negative(e.Number(-value))
    if isinstance(value, str):
        return e.String(value)
    items = [_node(item) for item in value] if isinstance(value, list) else [None]
    return None if None in items else e.List(tuple(item for item in items if item is not None))


def _merged(nodes: Sequence[e.Node]) -> e.Node | None:
    """One expression for several; None if they differ in more than numbers and words."""
    first = nodes[0]
    if all(node == first for node in nodes):
        return first
    values = [_value(node) for node in nodes]
    if all(value is not None for value in values):
        return e.Name(several([value for value in values if value is not None]))
    if any(type(node) is not type(first) for node in nodes):
        return None
    changes: dict[str, Any] = {}
    for item in fields(first):
        if item.name == "span":
            continue
        parts = [getattr(node, item.name) for node in nodes]
        if isinstance(parts[0], e.Node):
            merged = None if any(not isinstance(part, e.Node) for part in parts) else _merged(parts)
            if merged is None:
                return None
            changes[item.name] = merged
        elif isinstance(parts[0], tuple) and parts[0] and all(isinstance(part, e.Node) for part in parts[0]):
            if any(len(part) != len(parts[0]) for part in parts):
                return None
            members = [_merged(list(members)) for members in zip(*parts, strict=True)]
            if any(member is None for member in members):
                return None
            changes[item.name] = tuple(members)
        elif any(part != parts[0] for part in parts):
            return None
    return replace(first, **changes)


def _value(node: e.Node) -> int | float | str | None:
    """The number or word that an expression is."""
    match node:
        case e.Number(value=value):
            return value
        case e.Negative(value=e.Number(value=value)):
            return -value
        case e.String(value=text):
            return f'"{text}"'
        case e.Name(id="true" | "false" | "none" as word):
            return word
    return None


def _rebuilt(node: e.Node, change: Any) -> e.Node:
    """The expression with what stands directly below it changed."""
    changes: dict[str, Any] = {}
    for item in fields(node):
        value = getattr(node, item.name)
        if isinstance(value, e.Node):
            changes[item.name] = change(value)
        elif isinstance(value, tuple) and any(isinstance(part, e.Node) for part in value):
            changes[item.name] = tuple(change(part) if isinstance(part, e.Node) else part for part in value)
    return replace(node, **changes) if changes else node


__all__ = ["Numbers", "one_text", "several", "with_numbers"]
