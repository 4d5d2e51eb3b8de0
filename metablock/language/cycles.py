"""Circles of bindings: a binding that needs itself has no end."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import Problem
from . import ast as e
from .budget import spend
from .registry import OPERATORS
from .scope import tables
from .spec import Binding, Spec
from .standard import standard
from .stream_checks import bound_inside

MAX_CHAIN = 200
CIRCLE = "bindings use each other in a circle"


def cycles(spec: Spec, uses: Callable[[Binding], set[str]]) -> list[Problem]:
    """A problem for each circle of bindings, and for each binding that uses itself where no outer one has its name.

    ``uses`` gives the names that a binding uses, without its own and its parameters'.
    """
    table = {name: binding for table in reversed(tables(spec).values()) for name, binding in table.items()}
    search = _UseSearch(
        {name: sorted((uses(binding) & table.keys()) - bound_inside(binding.body)) for name, binding in table.items()}
    )
    problems = [Problem(message, table[name].header.span, hint) for name, message, hint in search.run()]
    for name, binding in table.items():
        if name not in spec.columns and _uses_itself(name, binding):
            message = f"'{name}' uses itself, and there is no outer '{name}'"
            problems.append(Problem(message, binding.header.span, "a binding's own name means the next outer one"))
    return problems


class _UseSearch:
    """A depth-first search along the uses of bindings."""

    def __init__(self, uses: dict[str, list[str]]):
        self.uses = uses
        self.open: dict[str, bool] = {}  # whether a visited name is on the present path
        self.problems: list[tuple[str, str, str]] = []  # the name that it is about, the message, the hint

    def run(self) -> list[tuple[str, str, str]]:
        for name in self.uses:
            if name not in self.open:
                self._visit(name, (name,))
        return self.problems

    def _visit(self, name: str, path: tuple[str, ...]) -> None:
        self.open[name] = True
        if len(path) > MAX_CHAIN:
            message = f"bindings lead through more than {MAX_CHAIN} others"
            self.problems.append((name, message, "use fewer bindings in between"))
            return
        spend(1 + len(self.uses[name]) // 8)
        for used in self.uses[name]:
            if self.open.get(used):
                circle = [*path[path.index(used) :], used] if used in path else [name, used]
                self.problems.append((circle[0], f"{CIRCLE}: {' -> '.join(circle)}", "break it with another name"))
            elif used not in self.open:
                self._visit(used, (*path, used))
        self.open[name] = False


def _uses_itself(name: str, binding: Binding) -> bool:
    """Whether a binding's body names the binding, where that means neither an outer one nor a parameter or a wire."""
    own = any(isinstance(node, e.Name) and node.id == name for node in e.walk(binding.body))
    outer = name in OPERATORS or (name in standard() and binding is not standard()[name])
    parameter = any(param.name == name for param in binding.params)
    return own and not outer and not parameter and name not in bound_inside(binding.body)
