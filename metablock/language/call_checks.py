"""Checks of calls and expressions that need no scope: whether a call fits a binding or an operator."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ..errors import Problem, SpecError, error
from . import ast as e
from .budget import spend
from .hints import hint_for_argument
from .registry import Operator, Param, Schema
from .spec import Binding, Edit


def bound_by(edit: Edit) -> list[Binding]:
    """The bindings that an edit adds: a table's, or the one whose parameters it sets.

    >>> from metablock.language.edits import parse_edits
    >>> [[binding.name for binding in bound_by(edit)] for edit in parse_edits(["token(k) = dw(k)", "token = dw(3)"])]
    [['token'], []]
    """
    if isinstance(edit.value, Mapping):
        return list(edit.value.values()) if edit.name != "input" else []
    if isinstance(edit.target, e.Header):
        return [Binding(edit.target, edit.value)] if edit.target.params else []
    return []


def of_binding(binding: Binding) -> Iterator[tuple[e.Node, frozenset[str]]]:
    """The expressions of a binding, its body and defaults, each with the names of the parameters that it may use.

    >>> from metablock.language.standard import standard
    >>> [type(node).__name__ for node, _ in of_binding(standard()["pw"])]
    ['Call', 'Name']
    """
    names = frozenset(param.name for param in binding.params)
    yield binding.body, names
    for param in binding.params:
        if param.default is not None:
            yield param.default, names


def bind_arguments(binding: Binding, call: e.Call) -> dict[str, e.Argument]:
    """The arguments of a call by the names of the binding's parameters; parameters left to their defaults are missing.

    Raises SpecError, at the argument or the call: too many arguments, an unknown or repeated name, a required one left out.

    >>> from metablock.language.parser import expression, parse_header, whole
    >>> ffn = Binding(parse_header(whole("ffn(r, act=gelu)", "let")), expression("linear(r * c)"))
    >>> [(name, argument.value) for name, argument in bind_arguments(ffn, expression("ffn(4)")).items()]
    [('r', Number(value=4))]
    """
    names = [param.name for param in binding.params]
    known = set(names)
    spend((len(names) + len(call.args)) // 8)
    takes = f"it takes {', '.join(names[:20])}{' ...' * (len(names) > 20)}" if names else "remove the brackets"
    bound: dict[str, e.Argument] = {}
    args = certain(call.args)
    for position, argument in enumerate(args):
        if argument.name is None and position >= len(names):
            raise error(f"'{binding.name}' takes {_count(len(names))}", argument.span, takes)
        name = argument.name or names[position]
        if name not in known:
            raise error(f"'{binding.name}' has no argument '{name}'", argument.span, hint_for_argument(name, names, takes))
        if name in bound:
            raise error(f"argument '{name}' is given twice", argument.span, "remove one of them")
        bound[name] = argument
    for param in binding.params if args is call.args else ():
        if param.default is None and param.name not in bound:
            raise error(f"'{binding.name}' needs the argument '{param.name}'", call.span, takes)
    return bound


def certain(args: tuple[e.Argument, ...]) -> tuple[e.Argument, ...]:
    """The arguments whose places are known without the lists that are spread out between them: all, if there is no ``*list``.

    >>> from metablock.language.parser import expression
    >>> [argument.value.id for argument in certain(expression("f(a, *b, c, k=d)").args)]
    ['a', 'd']
    """
    first = next((place for place, argument in enumerate(args) if isinstance(argument.value, e.Splice)), None)
    return args if first is None else (*args[:first], *(argument for argument in args[first:] if argument.name is not None))


def misfit(call: e.Call, bindings: Iterable[Binding]) -> tuple[Problem, ...]:
    """What is wrong with a call, if it fits none of the bindings which its name may have: what the last one says."""
    wrong: tuple[Problem, ...] = ()
    for binding in bindings:
        try:
            bind_arguments(binding, call)
            return ()
        except SpecError as problem:
            spend(20, call.span)
            wrong = problem.problems
    return wrong


def grouped_by_c(node: e.Node) -> bool:
    """Whether this is ``conv(..., groups=c)``."""
    if not (isinstance(node, e.Call) and isinstance(node.func, e.Name) and node.func.id == "conv"):
        return False
    return any(a.name == "groups" and isinstance(a.value, e.Name) and a.value.id == "c" for a in node.args)


def depthwise_hint(node: e.Node) -> str:
    """How to write a ``conv(..., groups=c)`` that is not at the start of a chain."""
    assert isinstance(node, e.Call)
    out = next((a.value for position, a in enumerate(node.args) if a.name == "out" or (a.name is None and position == 0)), None)
    if isinstance(out, e.Name) and out.id == "c":
        return "`dw(k)` is depthwise wherever it stands"
    return "write `groups=w`: `w` is the width that arrives"


def sources(node: e.Node, names: Collection[str]) -> Iterator[tuple[str, e.Node]]:
    """The items of a chain that begin a stream anew, by name; a name among ``names`` means something else."""
    for item in node.items if isinstance(node, e.Chain) else (node,):
        name = item.func if isinstance(item, e.Call) else item
        if isinstance(name, e.Name) and name.id in ("learned", "class_token") and name.id not in names:
            yield name.id, item


def is_number(node: e.Node) -> bool:
    """Whether this is a number or a list of numbers, as it is written."""
    if isinstance(node, e.List):
        return bool(node.items) and all(map(is_number, node.items))
    return isinstance(node, e.Number) or (isinstance(node, e.Negative) and is_number(node.value))


# Calls to operators


def pairs(operator: Operator, args: tuple[e.Argument, ...]) -> Iterator[tuple[e.Argument, Param | None]]:
    """Each argument of a call to an operator with its parameter; None for those of an operator that takes any number.

    Raises SpecError, at the argument: too many, an unknown name, a parameter given twice.

    >>> from metablock.language.parser import expression
    >>> from metablock.language.registry import OPERATORS
    >>> [param.name for _, param in pairs(OPERATORS["conv"], expression("conv(64, 3, stride=2)").args)]
    ['out', 'kernel', 'stride']
    """
    schema = operator.schema
    seen: set[str] = set()
    for position, argument in enumerate(args):
        if argument.name is None:
            if schema.variadic:
                yield argument, None
                continue
            if position >= len(schema.params):
                raise error(f"'{operator.name}' takes {_count(len(schema.params))}", argument.span, signature(operator))
            param = schema.params[position]
        else:
            named = [p for p in schema.params if p.name == argument.name]
            if not named:
                hint = hint_for_argument(argument.name, schema.names(), signature(operator))
                raise error(f"'{operator.name}' has no argument '{argument.name}'", argument.span, hint)
            param = named[0]
        if param.name in seen:
            raise error(f"argument '{param.name}' is given twice", argument.span, "remove one of them")
        seen.add(param.name)
        yield argument, param


def _count(n: int) -> str:
    return "no arguments" if n == 0 else f"{n} argument{'s' if n > 1 else ''}"


def signature(operator: Operator) -> str:
    """The operator's parameters, for hints.

    >>> from metablock.language.registry import OPERATORS
    >>> signature(OPERATORS["linear"])
    'it is linear(out, bias=true)'
    """
    schema: Schema = operator.schema
    if not schema.params and not schema.variadic:
        return f"write `{operator.name}` without brackets"
    parts = ["..."] if schema.variadic else []
    parts += [p.name if p.required else f"{p.name}={_shown(p.default)}" for p in schema.params]
    return f"it is {operator.name}({', '.join(parts)})"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)


def missing(operator: Operator, paired: Iterable[tuple[e.Argument, Param | None]]) -> str | None:
    """What a call leaves out, as a message says it, or None; ``paired`` are its arguments as :func:`pairs` gives them.

    >>> from metablock.language.registry import OPERATORS
    >>> missing(OPERATORS["linear"], []), missing(OPERATORS["join"], [])
    ("'linear' needs the argument 'out'", "'join' needs at least one module")
    """
    params = [param for _, param in paired]
    if operator.schema.variadic and None not in params:
        return f"'{operator.name}' needs at least one module"
    present = {param.name for param in params if param is not None}
    lacking = [param.name for param in operator.schema.params if param.required and param.name not in present]
    return f"'{operator.name}' needs the argument '{lacking[0]}'" if lacking else None
