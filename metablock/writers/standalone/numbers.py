"""The numbers in what is written: which of them may differ between the instances of a class, and how one follows from another."""

from __future__ import annotations

import ast
import json
from typing import Any

# Calls whose arguments are axes: parts that differ in them do not do the same.
_AXES = {"flatten", "movedim", "permute", "transpose"}


class Values(list[Any]):
    """The values of one argument for all items of a list."""


class Expression(int):
    """An expression in place of a number in a syntax tree."""

    text: str

    def __new__(cls, text: str) -> Expression:
        expression = super().__new__(cls, 0)
        expression.text = text
        return expression

    def __repr__(self) -> str:
        return self.text


def multiple(values: list[int], others: list[Any]) -> str | None:
    """The values as a fixed multiple or fraction of an argument, ``2 * {}``; None if the ratio varies."""
    if not all(type(other) is int and other > 0 for other in others) or min(values) < 1:
        return None
    if values == others:
        return "{}"
    times = values[0] // others[0]
    if times > 1 and all(value == times * other for value, other in zip(values, others, strict=True)):
        return f"{times} * {{}}"
    part = others[0] // values[0]
    if part > 1 and all(other == part * value for value, other in zip(values, others, strict=True)):
        return f"{{}} // {part}"
    return None


def numbers(function: ast.FunctionDef) -> list[ast.Constant]:
    """The numbers in a ``forward`` that may differ between instances of a class. Indices of children and axes may not."""
    result: list[ast.Constant] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).startswith("self."):
            visit(node.value)
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _AXES:
            visit(node.func)
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            result.append(node)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(function)
    return result


def structural(value: Any) -> bool:
    """Whether a value may decide over parameters or control flow: parts that differ in it do not share a class."""
    return value is None or isinstance(value, (bool, str))


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def inverse_root(value: Any) -> int:
    """The integer n of a value ``n ** -0.5``; 0 if it is none."""
    width = round(value**-2) if isinstance(value, float) and 0 < value < 1 else 0
    return width if width and width**-0.5 == value else 0


def shown(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, Values)):
        return f"[{', '.join(map(shown, value))}]"
    return repr(value)
