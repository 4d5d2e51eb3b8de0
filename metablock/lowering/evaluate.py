"""Numbers, words and lists: the part of an expression's value that needs no wire. A module comes back as a Closure."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

from ..errors import error
from ..language import ast as e
from ..language.call_checks import bind_arguments
from ..language.registry import Operator
from ..language.scope import Bound, Closure, Names, Scope, Section, Word, given
from ..language.spec import CLASSES, Binding, Spec
from .ir import Value

MAX_DEPTH = 200
MAX_LIST = 10_000
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow,
}  # fmt: skip
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def round8(value: float) -> int:
    """The nearest multiple of 8, at least 8 and never below 90 % of the value (MobileNet's rule)."""
    result = max(8, int(value + 4) // 8 * 8)
    return result + 8 if result < 0.9 * value else result


_NUMERIC: dict[str, Callable[..., Any]] = {
    "int": int, "ceil": math.ceil, "floor": math.floor, "round": round, "min": min, "max": max,
    "round8": round8, "sum": sum, "len": len, "range": lambda *a: list(range(*a)),
}  # fmt: skip


@dataclass
class Place:
    """Where in the network the compiler stands: what `stage`, `index`, `layer` ... mean at present."""

    stage: int | None = None
    index: int = 0
    layer: int = 0
    layers: int = 1
    part: int = 0
    classes: int = CLASSES
    grid: tuple[int, ...] = ()


class Evaluator:
    """Evaluates the expressions of one resolved spec."""

    def __init__(self, spec: Spec, stages: int):
        self.spec, self.stages = spec, stages
        self.names = Names(spec)
        self.place = Place()
        self.asked_layers = False
        self._depth = 0

    # Values

    def value(self, node: e.Node, scope: Scope) -> Any:
        """A number, word, list, None, wire, or a Closure for anything that is a module."""
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise error("bindings use each other in a circle, or too deeply", node.span, "name fewer steps in between")
            return self._value(node, scope)
        finally:
            self._depth -= 1

    def _value(self, node: e.Node, scope: Scope) -> Any:
        match node:
            case e.Number(value=number):
                return number
            case e.String(value=text):
                return text
            case e.Name():
                return self._name(node, scope)
            case e.List(items=items):
                return self._list(items, scope)
            case e.Comprehension():
                return [self.value(node.item, inner) for inner in self.loop(node, scope)]
            case e.Index():
                return self._index(node, scope)
            case e.Attribute():
                return self._attribute(node, scope)
            case e.Negative(value=inner):
                value = self.value(inner, scope)
                return -value if _is_number(value) else Closure(node, scope)
            case e.Binary():
                return self._binary(node, scope)
            case e.Compare() | e.Logic() | e.Not():
                return self.test(node, scope)
            case e.Conditional():
                return self.value(node.then if self.test(node.test, scope) else node.other, scope)
            case e.Call():
                return self._call(node, scope)
        return Closure(node, scope)

    def number(self, node: e.Node, scope: Scope, what: str) -> int | float:
        """A number, or an error at its place."""
        value = self.value(node, scope)
        if not _is_number(value):
            raise error(
                f"{what} must be a number", node.span, "this is a module" if isinstance(value, (Closure, Value)) else None
            )
        return value

    def test(self, node: e.Node, scope: Scope) -> bool:
        """The truth of a test. Tests compare numbers and words."""
        if isinstance(node, e.Logic):
            left = self.test(node.left, scope)
            return (left and self.test(node.right, scope)) if node.op == "and" else (left or self.test(node.right, scope))
        if isinstance(node, e.Not):
            return not self.test(node.value, scope)
        if isinstance(node, e.Compare):
            left, right = self.value(node.left, scope), self.value(node.right, scope)
            if isinstance(left, (Closure, Value)) or isinstance(right, (Closure, Value)):
                raise error("a test compares numbers, not modules", node.span, "compare a width: `c == dim`, `x.c`")
            try:
                return bool(_COMPARE[node.op](left, right))
            except TypeError:
                raise error(f"{_kind(left)} and {_kind(right)} cannot be compared with {node.op}", node.span) from None
        value = self.value(node, scope)
        if isinstance(value, (Closure, Value)):
            raise error("a module is neither true nor false", node.span, "a test compares numbers: `c == dim`")
        return bool(value)

    def loop(self, node: e.Comprehension, scope: Scope) -> list[Scope]:
        """The scopes of a comprehension's rounds."""
        source = self.value(node.source, scope)
        if not isinstance(source, (list, tuple)):
            raise error("a comprehension runs over a list", node.source.span, "write `range(n)` or a list")
        if len(source) > MAX_LIST:
            raise error(f"a list of {len(source)} entries", node.source.span, f"at most {MAX_LIST} are allowed")
        return [scope.bind(**{node.var: item}) for item in source]

    def _list(self, items: tuple[e.Node, ...], scope: Scope) -> list[Any]:
        result: list[Any] = []
        for item in items:
            if isinstance(item, e.Splice):
                spliced = self.value(item.value, scope)
                if not isinstance(spliced, (list, tuple)):
                    raise error("`*` in a list needs a list", item.span, "remove the `*`")
                result.extend(spliced)
            else:
                result.append(self.value(item, scope))
        return result

    def _name(self, node: e.Name, scope: Scope) -> Any:
        found = self.names.find(node.id, scope, node.span)
        if isinstance(found, Closure):
            return self.value(found.node, found.scope)
        if isinstance(found, Word):
            return self._word(node, scope)
        if isinstance(found, (Operator, Section)):
            return Closure(node, scope)
        if isinstance(found, Bound):
            if any(param.default is None for param in found.binding.params):
                return Closure(node, scope)
            return self.bound(found, {}, scope)
        return found

    def _word(self, node: e.Name, scope: Scope) -> Any:
        place, name = self.place, node.id
        if name == "c":
            if scope.c is None:
                raise error("there is no width `c` here", node.span, "`c` is the width that enters an expression")
            return scope.c
        if name in ("true", "false"):
            return name == "true"
        if name == "none":
            return None
        if name == "stage" and place.stage is None:
            raise error(
                "`stage` has no meaning outside the stages", node.span, "use it in a column, or in a binding that a stage uses"
            )
        self.asked_layers = self.asked_layers or name == "layers"
        if name in ("stage", "index", "layer", "layers", "part", "classes"):
            return getattr(place, name)
        if name == "grid":
            return list(place.grid)
        return Closure(node, scope)

    def bound(self, found: Bound, values: dict[str, Any], scope: Scope) -> Any:
        """A binding's value, `c` staying the caller's."""
        binding = found.binding
        inner = Scope(c=scope.c, hide=(found.table, binding.name))
        inner = inner.bind(**given(binding.params, values, inner))
        if found.table != "columns":
            return Closure(e.Name(binding.name), scope) if found.table.endswith("shared") else self.value(binding.body, inner)
        if self.place.stage is not None:
            return self.value(self.entry(binding, self.place.stage), inner)
        kept = self.place.stage
        try:  # outside the stages a column is the list of its entries
            entries = []
            for stage in range(self.stages):
                self.place.stage = stage
                entries.append(self.value(self.entry(binding, stage), inner))
            return entries
        finally:
            self.place.stage = kept

    def entry(self, column: Binding, stage: int) -> e.Node:
        """A column's entry for one stage."""
        return column.body.items[stage] if isinstance(column.body, e.List) else column.body

    def _index(self, node: e.Index, scope: Scope) -> Any:
        base = self.value(node.base, scope)
        if isinstance(base, Closure):
            return Closure(node, scope)
        if not isinstance(base, (list, tuple)):
            raise error(f"{_kind(base)} has no entries", node.base.span, "only lists are indexed")
        if isinstance(node.at, e.Slice):
            low = None if node.at.low is None else int(self.number(node.at.low, scope, "a subscript"))
            high = None if node.at.high is None else int(self.number(node.at.high, scope, "a subscript"))
            return list(base[low:high])
        at = self.number(node.at, scope, "a subscript")
        if not isinstance(at, int) or not -len(base) <= at < len(base):
            raise error(f"entry {at} of a list of {len(base)}", node.span, "entries are numbered from 0; -1 is the last")
        return base[at]

    def _attribute(self, node: e.Attribute, scope: Scope) -> Any:
        base = self.value(node.base, scope)
        if not isinstance(base, Value):
            raise error("only a wire has attributes", node.span, "write `x.c` for the width of the wire x")
        if node.name == "c":
            return base.c
        if node.name == "grid":
            return list(base.feature.grid)
        if node.name == "n":
            return base.feature.n
        raise error(f"a wire has no '{node.name}'", node.span, "it has `c` (width), `grid` (extents) and `n` (number of tokens)")

    def _binary(self, node: e.Binary, scope: Scope) -> Any:
        left = self.value(node.left, scope)
        if not _is_number(left) and not isinstance(left, (list, str)):
            return Closure(node, scope)
        right = self.value(node.right, scope)
        if isinstance(right, (Closure, Value)) or right is None:
            return Closure(node, scope)
        try:
            return _arithmetic(node.op, left, right)
        except ZeroDivisionError:
            raise error("division by zero", node.span, "guard it: `max(x, 1)`") from None
        except OverflowError:
            raise error("the result is too large for a number", node.span, "use smaller numbers") from None
        except TypeError:
            raise error(
                f"{_kind(left)} {node.op} {_kind(right)} has no meaning", node.span, "both sides are numbers, or both modules"
            ) from None

    def _call(self, node: e.Call, scope: Scope) -> Any:
        if not isinstance(node.func, e.Name):
            raise error("only a name can be called", node.func.span, "`f(x)` gives arguments to a recipe; data flows with `>>`")
        found = self.names.find(node.func.id, scope, node.func.span)
        if isinstance(found, Word) and found.name in _NUMERIC:
            return self._numeric(found.name, node, scope)
        if isinstance(found, Bound):
            return self.bound(found, self.arguments(found.binding, node, scope), scope)
        if isinstance(found, Operator):
            return Closure(node, scope)
        raise error(f"'{node.func.id}' takes no arguments", node.span, "remove the brackets")

    def arguments(self, binding: Binding, node: e.Call, scope: Scope) -> dict[str, Any]:
        """The arguments of a call to a binding, not yet evaluated, by the parameters' names."""
        return {name: Closure(argument.value, scope) for name, argument in bind_arguments(binding, node).items()}

    def _numeric(self, name: str, node: e.Call, scope: Scope) -> Any:
        values = [self.value(argument.value, scope) for argument in node.args]
        flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
        if name == "sum" and any(isinstance(item, (Value, Closure)) for item in flat):
            return Closure(node, scope)
        if any(not _is_number(item) for item in flat) and name != "len":
            raise error(f"'{name}' works on numbers", node.span, "a module stands where a number is expected")
        try:
            result = _NUMERIC[name](*values)
        except (TypeError, ValueError, OverflowError):
            raise error(f"'{name}' does not take these arguments", node.span, "numbers, or one list of numbers") from None
        if isinstance(result, list) and len(result) > MAX_LIST:
            raise error(f"a list of {len(result)} entries", node.span, f"at most {MAX_LIST} are allowed")
        return result


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float))


def _kind(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "a truth value"
    return {int: "a number", float: "a number", str: "a word", list: "a list"}.get(type(value), "a module")


def _arithmetic(op: str, left: Any, right: Any) -> Any:
    if isinstance(left, str) or isinstance(right, str):
        raise TypeError
    if isinstance(left, list) or isinstance(right, list):  # extents: one number an axis
        if isinstance(left, list) and isinstance(right, list):
            raise TypeError
        items = left if isinstance(left, list) else right
        return [_arithmetic(op, i, right) if items is left else _arithmetic(op, left, i) for i in items]
    if op == "**" and abs(right) > 64:
        raise OverflowError
    result = _BINARY[op](left, right)
    if isinstance(result, complex) or abs(result) > 1e18:
        raise OverflowError
    return result
