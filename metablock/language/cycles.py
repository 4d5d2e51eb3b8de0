"""Circles of bindings: a binding that needs itself has no end."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import Problem
from . import ast as e
from .call_checks import is_wire
from .registry import OPERATORS
from .scope import tables
from .spec import Binding, Spec
from .standard import standard

MAX_CHAIN = 200
CIRCLE = "bindings use each other in a circle"


def cycles(spec: Spec, uses: Callable[[Binding], set[str]]) -> list[Problem]:
    """A problem for each circle of bindings, and for each binding that uses itself where no outer one has its name.

    ``uses`` gives the names that a binding uses, without its own and its parameters'.
    """
    problems: list[Problem] = []

    def wrong(message: str, node: e.Node, hint: str) -> None:
        problems.append(Problem(message, node.span, hint))

    table = {name: binding for table in reversed(tables(spec).values()) for name, binding in table.items()}
    state: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        state[name] = 1
        if len(path) > MAX_CHAIN:
            wrong(f"bindings lead through more than {MAX_CHAIN} others", table[name].header, "use fewer bindings in between")
            return
        for used in sorted(uses(table[name])):
            if used not in table:
                continue
            if state.get(used) == 1:
                circle = [*path[path.index(used) :], used] if used in path else [name, used]
                wrong(
                    f"{CIRCLE}: {' -> '.join(circle)}",
                    table[circle[0]].header,
                    "break it with another name",
                )
            elif used not in state:
                visit(used, (*path, used))
        state[name] = 2

    for name in table:
        if name not in state:
            visit(name, (name,))
    for name, binding in table.items():
        own = any(isinstance(n, e.Name) and n.id == name for n in e.walk(binding.body)) and name not in {
            p.name for p in binding.params
        }
        outer = name in OPERATORS or (name in standard() and binding is not standard()[name])
        if own and not outer and name not in spec.columns and not is_wire(name, binding.body):
            wrong(
                f"'{name}' uses itself, and there is no outer '{name}'",
                binding.header,
                "a binding's own name means the next outer one",
            )
    return problems
