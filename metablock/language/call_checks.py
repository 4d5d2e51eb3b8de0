"""Questions about expressions that need no scope: what a binding holds, whether a call fits it, whether a wire is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import error, suggest
from . import ast as e
from .registry import Operator, Param, Schema
from .spec import Binding, Edit


def bound_by(edit: Edit) -> list[Binding]:
    """The bindings that an edit makes."""
    if isinstance(edit.value, Mapping):
        return list(edit.value.values()) if edit.name != "input" else []
    if isinstance(edit.target, e.Header):
        return [Binding(edit.target, edit.value)] if edit.target.params else []
    return []


def of_binding(binding: Binding) -> Iterator[tuple[e.Node, frozenset[str]]]:
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
    takes = f"it takes {', '.join(names)}" if names else "remove the brackets"
    bound: dict[str, e.Argument] = {}
    for position, argument in enumerate(call.args):
        if argument.name is None and position >= len(names):
            raise error(f"'{binding.name}' takes {_count(len(names))}", argument.span, takes)
        name = argument.name or names[position]
        if name not in names:
            raise error(f"'{binding.name}' has no argument '{name}'", argument.span, suggest(name, names, takes))
        if name in bound:
            raise error(f"argument '{name}' is given twice", argument.span, "remove one of them")
        bound[name] = argument
    for param in binding.params:
        if param.default is None and param.name not in bound:
            raise error(f"'{binding.name}' needs the argument '{param.name}'", call.span, takes)
    return bound


def read_later(name: str, later: list[e.Node]) -> bool:
    for node in later:
        value = node.value if isinstance(node, e.Assign) else node
        if any(isinstance(n, e.Name) and n.id == name for n in e.walk(value)):
            return True
        if isinstance(node, e.Assign) and name in node.targets:
            return False
    return False


def grouped_by_c(node: e.Node) -> bool:
    if not (isinstance(node, e.Call) and isinstance(node.func, e.Name) and node.func.id == "conv"):
        return False
    return any(a.name == "groups" and isinstance(a.value, e.Name) and a.value.id == "c" for a in node.args)


def is_number(node: e.Node) -> bool:
    if isinstance(node, e.List):
        return bool(node.items) and all(map(is_number, node.items))
    return isinstance(node, e.Number) or (isinstance(node, e.Negative) and is_number(node.value))


def is_wire(name: str, body: e.Node) -> bool:
    """Whether the name is bound inside the body: a line or a parameter of a stream."""
    for node in e.walk(body):
        if (isinstance(node, e.Assign) and name in node.targets) or (isinstance(node, e.Function) and name in node.params):
            return True
        if isinstance(node, e.Comprehension) and node.var == name:
            return True
    return False


# Calls to operators


def pairs(operator: Operator, args: tuple[e.Argument, ...]) -> Iterator[tuple[e.Argument, Param | None]]:
    """Each argument with the parameter it falls on (None: one of any number). Raises for those that fall on none."""
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
            found = [p for p in schema.params if p.name == argument.name]
            if not found:
                hint = suggest(argument.name, schema.names(), signature(operator))
                raise error(f"'{operator.name}' has no argument '{argument.name}'", argument.span, hint)
            param = found[0]
        if param.name in seen:
            raise error(f"argument '{param.name}' is given twice", argument.span, "remove one of them")
        seen.add(param.name)
        yield argument, param


def _count(n: int) -> str:
    return "no arguments" if n == 0 else f"{n} argument{'s' if n > 1 else ''}"


def signature(operator: Operator) -> str:
    """``conv(out, kernel=1, ...)`` for messages."""
    schema: Schema = operator.schema
    parts = ["..."] if schema.variadic else []
    parts += [p.name if p.required else f"{p.name}={_shown(p.default)}" for p in schema.params]
    return f"it is {operator.name}({', '.join(parts)})"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)


def missing(operator: Operator, paired: Iterable[tuple[e.Argument, Param | None]]) -> list[str]:
    """The required parameters that a call does not give."""
    given = {param.name for _, param in paired if param is not None}
    return [param.name for param in operator.schema.params if param.required and param.name not in given]
