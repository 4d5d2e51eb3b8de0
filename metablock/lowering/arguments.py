"""Arguments of operators against their signatures: types are enforced, modules stay expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import Span, error
from ..language import ast as e
from ..language.call_checks import missing, pairs, signature
from ..language.parser import expression
from ..language.printer import show
from ..language.registry import Operator, Param
from ..language.scope import Closure, Scope

if TYPE_CHECKING:
    from .placing import Placer


@dataclass(frozen=True)
class Arg:
    """An expression given to a form. ``label``: the level it gets; without one it is walked in the open level."""

    node: e.Node
    scope: Scope
    label: str | None = None
    suffix: str = ""

    @property
    def span(self) -> Span | None:
        return self.node.span


# What a form's signature says: a module; one that cannot be `none`; a number that the form evaluates itself.
Expr = Arg
Module = Arg
Lazy = Arg

# How the types of a signature are called in messages.
_WORDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word in quotes",
    "Expr": "a module", "Module": "a module", "Lazy": "a number",
    "list[int]": "a list of whole numbers", "list[float]": "a list of numbers", "None": "none",
}  # fmt: skip


def check_arguments(t: Placer, operator: Operator, node: e.Node, scope: Scope, suffix: str = "") -> dict[str, Any]:
    """The arguments of a call by name; ``*`` holds those of any number. Defaults are filled in for forms."""
    args = node.args if isinstance(node, e.Call) else ()
    paired = list(pairs(operator, args))
    lacking = missing(operator, paired)
    if lacking:
        raise error(f"'{operator.name}' needs the argument '{lacking[0]}'", node.span, signature(operator))
    result: dict[str, Any] = {}
    t.given = {a.name: f"{t.label(a.value, a.name)}{suffix}" for a in args if a.name is not None}
    for argument, param in paired:
        if param is None:
            result.setdefault("*", []).append(_expr(t, operator, argument, None, scope, suffix))
        else:
            result[param.name] = _value(t, operator, argument, param, scope, suffix)
    if not operator.leaf:
        for param in operator.schema.params:
            if param.name not in result:
                default = param.default
                if param.module and isinstance(default, str):
                    default = Arg(_default(default), Scope(), param.name + suffix)
                result[param.name] = default
    return result


def members(t: Placer, arg: Arg) -> list[Arg | None] | None:
    """Each member of a list argument as an argument, its level numbered; None where it is no list."""
    values = t.evaluate.value(arg.node, arg.scope)
    if not isinstance(values, list):
        return None
    result: list[Arg | None] = []
    for number, value in enumerate(values):
        label = f"{arg.label}.{number}"
        if isinstance(value, Closure):
            result.append(Arg(value.node, value.scope, label))
        else:
            member = Arg(e.Name("member", span=arg.span), Scope().bind(member=value), label)
            result.append(None if value is None else member)
    return result


_DEFAULTS: dict[str, e.Node] = {}


def _default(text: str) -> e.Node:
    if text not in _DEFAULTS:
        _DEFAULTS[text] = expression(text, "<default>")
    return _DEFAULTS[text]


def _expr(t: Placer, operator: Operator, argument: e.Argument, param: Param | None, scope: Scope, suffix: str) -> Arg | None:
    node = argument.value
    if isinstance(node, (e.Name, e.Conditional, e.Call, e.Index)) and t.evaluate.value(node, scope) is None:
        return None
    if operator.inline:
        return Arg(node, scope, None if argument.name is None else t.given[argument.name], suffix)
    return Arg(node, scope, param.name if param is not None else None)


# The values that a type of a signature admits.
_IS: dict[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) is float,
    "str": lambda value: isinstance(value, str),
    "list[int]": lambda value: isinstance(value, list) and all(type(item) is int for item in value),
}


def _value(t: Placer, operator: Operator, argument: e.Argument, param: Param, scope: Scope, suffix: str) -> Any:
    if "Lazy" in param.types:
        return Arg(argument.value, scope)
    value = t.evaluate.value(argument.value, scope)
    if value is None and "Module" in param.types:
        hint = "`id` passes on what arrives" + "; leave it out for the default" * (not param.required)
        raise error(f"'{param.name}' of '{operator.name}' cannot be `none`", argument.value.span, hint)
    if value is None and "None" in param.types:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and "int" not in param.types and "float" in param.types:
        value = float(value)
    if any(_IS[kind](value) for kind in param.types if kind in _IS):
        return value
    if param.module and not isinstance(value, (int, float, str)):
        return _expr(t, operator, argument, param, scope, suffix)
    wanted = " or ".join(_WORDS.get(kind, kind) for kind in param.types)
    hint = "round it: `int(x)`, or divide with `//`" if isinstance(value, float) and "int" in param.types else signature(operator)
    shown = value if isinstance(value, (int, float, str)) else "a list" if isinstance(value, list) else "a module"
    if isinstance(value, list):
        hint = f"choose an entry: `{show(argument.value)}[0]`"
    raise error(
        f"'{param.name}' of '{operator.name}' must be {wanted}, `{show(argument.value)}` is {shown}", argument.value.span, hint
    )
