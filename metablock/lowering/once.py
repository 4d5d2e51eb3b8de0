"""Modules that are built once and applied wherever they are named: of `shared:`, and of a stream's lines ``shared f = ...``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import error
from ..language import ast as e
from ..language.scope import Bound, Closure, Scope
from .ir import Value, ValueTree, flat_values

if TYPE_CHECKING:
    from .draft import Draft
    from .evaluate import Evaluator


@dataclass(frozen=True)
class Home:
    """The subgraph that holds a stream's shared modules.

    Attributes:
        draft: the subgraph, while it is filled.
        path: leads to it from the root of the network.
        region: the kind of compile unit of the modules.
    """

    draft: Draft
    path: tuple[str, ...]
    region: str | None = None


@dataclass(frozen=True)
class Once:
    """A module that is built once.

    Attributes:
        name: its parameter name there; ``convs.1`` is a member of a list.
        node, scope: its expression.
        home: what holds it, if a stream's line declares it.
        bound: its entry in a table `shared:` otherwise.
    """

    name: str
    node: e.Node
    scope: Scope = field(repr=False)
    home: Home | None = field(default=None, repr=False)
    bound: Bound | None = None


def of_table(bound: Bound) -> Once:
    """The module of an entry of `shared:`."""
    binding = bound.binding
    return Once(binding.name, binding.body, Scope(hide=(bound.table, binding.name)), bound=bound)


def captured(node: e.Node, scope: Scope, x: ValueTree) -> list[Value]:
    """The values of ``x`` that an expression also reads by a name from around it."""
    entering = {value.id for value in flat_values(x)}
    both = {name: [value for value in flat_values(tree) if value.id in entering] for name, tree in scope.vars.items()}
    read = {part.id for part in e.walk(node) if isinstance(part, e.Name)} if any(both.values()) else set()
    return [value for name, values in both.items() if name in read for value in values]


def is_list(once: Once) -> bool:
    """Whether it is written as a list, whose members are modules of their own."""
    return _written_list(once.node)


def _written_list(node: e.Node) -> bool:
    if isinstance(node, e.Binary):
        return node.op == "+" and _written_list(node.left)
    return isinstance(node, (e.List, e.Comprehension))


def members(evaluate: Evaluator, once: Once, scope: Scope) -> list[Any]:
    """The members of a list, each a Closure that names a module which is built once; `none` is None.

    Raises:
        SpecError: a member is a number or a value.
    """
    values = evaluate.value(once.node, once.scope.with_c(scope.c))
    return [_member(once, value, number) for number, value in enumerate(values)]


def _member(once: Once, value: Any, number: int) -> Any:
    name = f"{once.name}.{number}"
    if value is None:
        return None
    if isinstance(value, list):
        return [_member(Once(name, once.node, once.scope, once.home, once.bound), item, n) for n, item in enumerate(value)]
    if not isinstance(value, Closure):
        raise error("a list of shared modules has a member that is no module", once.node.span, "numbers and wires stand in `let`")
    member = Once(name, value.node, value.scope, once.home, once.bound)
    return Closure(e.Name(name, span=value.node.span), Scope().bind({name: member}))


def is_member(value: Any) -> bool:
    """Whether a value is a member of a list of shared modules."""
    return isinstance(value, Closure) and isinstance(value.node, e.Name) and isinstance(value.scope.vars.get(value.node.id), Once)
