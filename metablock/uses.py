"""Questions about expressions that need no scope: what a binding holds, whether a call fits it, whether a wire is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from . import expr as e
from .errors import Problem, suggest
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


def misfit(binding: Binding, node: e.Call) -> Problem | None:
    """What is wrong with a call to a binding."""
    names = [param.name for param in binding.params]
    takes = f"it takes {', '.join(names)}" if names else f"'{binding.name}' takes no arguments"
    given: set[str] = set()
    for position, argument in enumerate(node.args):
        if argument.name is None and position >= len(names):
            return Problem(f"'{binding.name}' takes {len(names)} argument{'s' if len(names) != 1 else ''}", argument.span, takes)
        name = argument.name or names[position]
        if name not in names:
            return Problem(f"'{binding.name}' has no argument '{name}'", argument.span, suggest(name, names, takes))
        given.add(name)
    for param in binding.params:
        if param.default is None and param.name not in given:
            return Problem(f"'{binding.name}' needs the argument '{param.name}'", node.span, takes)
    return None


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
