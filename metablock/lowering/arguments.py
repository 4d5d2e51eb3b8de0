"""Arguments of operators: numbers and words are evaluated and checked against the signature, modules stay expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ..errors import Span, error
from ..language import ast as e
from ..language.arithmetic import is_real
from ..language.call_checks import missing, pairs, signature
from ..language.parser import expression
from ..language.printer import show
from ..language.ranges import range_of
from ..language.registry import Operator, Param
from ..language.scope import Closure, Scope
from .evaluate import Evaluator
from .splices import Member
from .splices import arguments as spread_arguments


@dataclass(frozen=True)
class Arg:
    """An argument that is an expression: ``Tracer.apply(arg, value)`` lowers it.

    Attributes:
        node, scope: the expression, and what its names mean.
        label: the name of its subgraph; None: its steps and modules go into the open subgraph.
        suffix: without a label: what the names of its modules end in, ``.0`` in a comprehension.
    """

    node: e.Node
    scope: Scope
    label: str | None = None
    suffix: str = ""

    @property
    def span(self) -> Span | None:
        """Its place in the spec."""
        return self.node.span


# Types in the signature of a composite operator: a module, a module that cannot be `none`, a number that the operator evaluates.
Expr = Arg
Module = Arg
Lazy = Arg

# How messages call the types of a signature.
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word in quotes",
    "Expr": "a module",
    "Module": "a module",
    "Lazy": "a number",
    "list[int]": "a list of whole numbers",
    "list[float]": "a list of numbers",
    "None": "none",
}

# Whether a value has the type of a signature.
_IS: dict[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) is float,
    "str": lambda value: isinstance(value, str),
    "list[int]": lambda value: isinstance(value, list) and all(type(item) is int for item in value),
    "list[float]": lambda value: isinstance(value, list) and all(type(item) in (int, float) for item in value),
}


@dataclass
class Arguments:
    """The arguments of one call.

    Attributes:
        modules: what the variadic parameter takes, `none` as None.
        values: all other arguments by name.
        labels: the parameter names of the arguments that the call names.
    """

    modules: list[Arg | None] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


class ArgumentReader:
    """Reads the arguments of calls.

    Args:
        evaluate: evaluates numbers, words and lists.
        name: returns the parameter name of an expression; the second argument is the one that it has without a label.
    """

    def __init__(self, evaluate: Evaluator, name: Callable[[e.Node, str | None], str]):
        self.evaluate, self.name = evaluate, name

    def read(self, operator: Operator, node: e.Node, scope: Scope, suffix: str = "") -> Arguments:
        """The arguments of one call of an operator.

        Args:
            operator: the operator.
            node: the call, or the name alone.
            scope: what the names in the arguments mean.
            suffix: what parameter names end in.

        Returns:
            The arguments; those of a composite operator with its defaults.

        Raises:
            SpecError: an argument is missing, unknown or of another type.
        """
        args = node.args if isinstance(node, e.Call) else ()
        spread = spread_arguments(self.evaluate, args, scope, suffix)
        paired = list(pairs(operator, tuple(argument for argument, _ in spread)))
        lacking = missing(operator, paired)
        if lacking:
            raise error(lacking, node.span, signature(operator))
        result = Arguments(labels={a.name: f"{self.name(a.value, a.name)}{suffix}" for a in args if a.name is not None})
        call = _Call(operator, scope, suffix, result.labels)
        for (argument, param), (_, member) in zip(paired, spread, strict=True):
            here = call if member is None else replace(call, scope=member.scope, member=member)
            if param is None:
                result.modules.append(self._module(here, argument, None))
            else:
                result.values[param.name] = self._value(here, argument, param)
        if args:
            self._note(node, dict(result.values))
        if not operator.leaf:
            for param in operator.schema.params:
                result.values.setdefault(param.name, _default(param, suffix))
        return result

    def _note(self, node: e.Node, values: dict[str, Any]) -> None:
        """Writes down, in the open subgraph, which values a call has."""
        numbers = self.evaluate.context.now.draft.subgraph.numbers
        plain = {name: value for name, value in values.items() if value is None or isinstance(value, (int, float, str, list))}
        known = numbers.get(id(node))
        numbers[id(node)] = (node, plain if known is None or known[1] == plain else None)

    def members(self, arg: Arg) -> list[Arg | None] | None:
        """The members of a list as arguments of their own, with numbered labels (`none` as None); None if it is no list."""
        values = self.evaluate.value(arg.node, arg.scope)
        if not isinstance(values, list):
            return None
        result: list[Arg | None] = []
        for number, value in enumerate(values):
            label = f"{arg.label}.{number}"
            if isinstance(value, Closure):
                result.append(Arg(value.node, value.scope, label))
            else:
                member = Arg(e.Name("member", span=arg.span), Scope().bind({"member": value}), label)
                result.append(None if value is None else member)
        return result

    def _module(self, call: _Call, argument: e.Argument, param: Param | None) -> Arg | None:
        """An argument that is a module; None for `none`."""
        node = argument.value
        if isinstance(node, (e.Name, e.Conditional, e.Call, e.Index)) and self.evaluate.value(node, call.scope) is None:
            return None
        if call.member is not None and call.operator.inline:
            of = call.member.of
            label = None if of is None else f"{self.name(of, None)}{call.member.suffix}"
            return Arg(node, call.scope, label, "" if label else call.member.suffix)
        if call.operator.inline:
            return Arg(node, call.scope, None if argument.name is None else call.labels[argument.name], call.suffix)
        return Arg(node, call.scope, param.name if param is not None else None)

    def _value(self, call: _Call, argument: e.Argument, param: Param) -> Any:
        """The value of an argument of another type. Raises SpecError if the parameter does not admit it."""
        if "Lazy" in param.types:
            return Arg(argument.value, call.scope)
        operator, value = call.operator, self.evaluate.value(argument.value, call.scope)
        if value is None and "Module" in param.types:
            hint = "`id` passes on what arrives" + "; leave it out for the default" * (not param.required)
            raise error(f"'{param.name}' of '{operator.name}' cannot be `none`", argument.value.span, hint)
        if value is None and "None" in param.types:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and "int" not in param.types and "float" in param.types:
            value = float(value)
        if any(_IS[kind](value) for kind in param.types if kind in _IS):
            for number in value if isinstance(value, list) else [value]:
                beyond = range_of(operator.name, param.name).wrong(number) if is_real(number) else None
                if beyond is not None:
                    raise error(f"`{param.name}` of '{operator.name}' is {number:g}", argument.value.span, beyond)
            return value
        if param.module and not isinstance(value, (int, float, str)):
            return self._module(call, argument, param)
        raise _mismatch(operator, argument, param, value)


@dataclass(frozen=True)
class _Call:
    """The call that an argument belongs to."""

    operator: Operator
    scope: Scope
    suffix: str
    labels: dict[str, str]
    member: Member | None = None  # of a list that is spread out: the argument that is read


def _mismatch(operator: Operator, argument: e.Argument, param: Param, value: Any) -> Exception:
    """The error of an argument of another type."""
    wanted = " or ".join(KINDS.get(kind, kind) for kind in param.types)
    text = show(argument.value)
    hint = signature(operator)
    if isinstance(value, list):
        hint = f"choose an entry: `{text}[0]`"
    elif isinstance(value, float) and "int" in param.types:
        hint = "round it: `int(x)`, or divide with `//`"
    what = value if isinstance(value, (int, float, str)) else "a list" if isinstance(value, list) else "a module"
    return error(f"'{param.name}' of '{operator.name}' must be {wanted}, `{text}` is {what}", argument.value.span, hint)


def _default(param: Param, suffix: str) -> Any:
    """The default of a parameter; that of a module is text in the language."""
    if param.module and isinstance(param.default, str):
        return Arg(_parsed(param.default), Scope(), param.name + suffix)
    return param.default


@cache
def _parsed(text: str) -> e.Node:
    return expression(text, "<default>")
