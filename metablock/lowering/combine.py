"""``a + b``, ``n * a``, ``1 - a``, ``a ** 2``: what an arithmetic operator means where one of its sides is a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import error
from ..language import ast as e
from ..language.printer import show
from ..language.scope import Scope
from .ir import Value, ValueTree, single
from .layouts import check_channels
from .places import located
from .references import no_module

if TYPE_CHECKING:
    from .tracer import Tracer


def binary(t: Tracer, node: e.Binary, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
    """``n * a``, or two outputs combined."""
    left = t.evaluate.value(node.left, scope)
    if isinstance(left, bool):
        hint = "write `a if test else id` for a module that may be left out"
        raise error("a truth value and a module do not meet", node.left.span, hint)
    if isinstance(left, list) and node.op == "+" and isinstance(t.evaluate.value(node.right, scope), list):
        return [*t.emit(node.left, scope, x, suffix), *t.emit(node.right, scope, x, suffix)]
    if not isinstance(left, (int, float)):
        return _combine(t, node, scope, x, suffix)
    right_value = t.evaluate.value(node.right, scope)
    if isinstance(right_value, (int, float)):
        raise no_module(node)
    if node.op in "+-":
        right = t.emit(node.right, scope, x, suffix)
        with located(node.span):
            return None if right is None else shifted(t, f"{left!r} {node.op} {{0}}", right)
    if node.op != "*":
        hint = "a number is added, subtracted, divides, or is the exponent: `1 - a`, `a / 2`, `a ** 2`; `times(x)` scales"
        if node.op == "/":
            hint = f"write `{_power(node.right)} ** -1{f' >> times({left:g})' * (left != 1)}`"
        raise error(f"a number and a module do not meet in '{node.op}'", node.span, hint)
    if isinstance(right_value, Value) or (isinstance(right_value, list) and all(isinstance(v, Value) for v in right_value)):
        hint = f"write `{show(node.right)} >> times({left:g})` to scale it"
        raise error(f"{show(node)}: a number repeats a module, '{show(node.right)}' is a value", node.span, hint)
    if isinstance(left, float):
        hint = "write `>> times(x)` to scale"
        raise error(f"{show(node.left)} * a module: only a whole number repeats", node.span, hint)
    return t.repeat(left, node.right, scope, x, suffix, node.span)


def _combine(t: Tracer, node: e.Binary, scope: Scope, x: ValueTree, suffix: str) -> ValueTree:
    """Adds, subtracts or multiplies two outputs; divides one by a number, or raises it to one. An absent one adds nothing."""
    undo = mark(t)
    left = t.emit(node.left, scope, x, suffix)
    number = t.evaluate.value(node.right, scope)
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        if node.op not in ("+", "-", "/", "**"):
            hint = "write `>> times(x)` to scale, `n * a` to repeat"
            if node.op == "*" and isinstance(t.evaluate.value(node.left, scope), Value):
                hint = f"write `{show(node.left)} >> times({number:g})` to scale it"
            raise error(f"a module and a number do not meet in '{node.op}'", node.right.span, hint)
        if node.op == "/" and not number:
            raise error("division by zero", node.right.span, "divide an output by a number other than 0")
        with located(node.span):
            return None if left is None else shifted(t, f"{{0}} {node.op} {number!r}", left)
    right = t.emit(node.right, scope, x, suffix)
    if node.op not in ("+", "-", "*"):
        hint = "outputs are added, subtracted, multiplied; or divided by a number"
        if node.op == "/":
            hint = f"multiply by the inverse: `a * {_power(node.right)} ** -1`"
        raise error(f"modules do not meet in '{node.op}'", node.span, hint)
    if left is not None and right is not None:
        with located(node.span):
            return t.ir.binary(node.op, single(left), single(right))
    if node.op == "*":
        undo()
        return None
    if left is None and node.op == "-" and right is not None:
        with located(node.span):
            return shifted(t, "-{0}", right)
    return right if left is None else left


def _power(node: e.Node) -> str:
    """An expression as the base of a power."""
    text = show(node)
    return text if isinstance(node, (e.Name, e.Call, e.Index)) else f"({text})"


def shifted(t: Tracer, template: str, x: ValueTree) -> Value:
    """An output that is negated, raised to a power, or meets a number. Raises SpecError for a list, or an order."""
    value = single(x)
    if value.feature.layout == "order":
        raise error("an order is no number", hint="`tokens >> reorder(order)` puts tokens in an order")
    check_channels(value.feature)
    return t.ir.inline(template, [value], value.feature)


def mark(t: Tracer) -> Callable[[], None]:
    """Returns a function that takes back what is emitted after this call: steps, modules, shared ones too, and counted blocks."""
    undo, undo_shared = t.now.draft.mark(), t.network.mark_shared()
    blocks, before = t.now.blocks, replace(t.now.blocks)

    def take_back() -> None:
        undo()
        undo_shared()
        blocks.index, blocks.layer = before.index, before.layer

    return take_back
