"""``*list`` in a call: the members of the list as arguments of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import error
from ..language import ast as e
from ..language.arithmetic import MAX_LIST
from ..language.budget import spend
from ..language.call_checks import bind_arguments
from ..language.scope import Closure, Scope
from ..language.spec import Binding

if TYPE_CHECKING:
    from .evaluate import Evaluator


@dataclass(frozen=True)
class Member:
    """A member of a list that a call spreads out.

    Attributes:
        node, scope: the expression, and what its names mean.
        of: the list, by whose name its modules are called, with ``suffix``; None: they are called by their own text.
        suffix: what the names of its modules end in: the member's number.
    """

    node: e.Node
    scope: Scope
    of: e.Node | None = None
    suffix: str = ""


def members(evaluate: Evaluator, node: e.Node, scope: Scope, suffix: str = "") -> Iterator[Member]:
    """The members of the list behind a ``*``.

    Those of a list that stands there are named by their own text, as they would be without the ``*``; those of another one by
    the list and their number.

    Raises:
        SpecError: it is no list.
    """
    match node:
        case e.List(items=items):
            for item in items:
                if isinstance(item, e.Splice):
                    yield from members(evaluate, item.value, scope, suffix)
                else:
                    yield Member(item, scope, None, suffix)
        case e.Comprehension():
            for number, inner in enumerate(evaluate.loop(node, scope)):
                yield Member(node.item, inner, None, f"{suffix}.{number}")
        case e.Conditional():
            yield from members(evaluate, node.then if evaluate.test(node.test, scope) else node.other, scope, suffix)
        case _:
            for number, value in enumerate(_list(evaluate, node, scope)):
                closure = value if isinstance(value, Closure) else Closure(*_named(value, node))
                yield Member(closure.node, closure.scope, node, f"{suffix}.{number}")


def arguments(
    evaluate: Evaluator, args: tuple[e.Argument, ...], scope: Scope, suffix: str = ""
) -> list[tuple[e.Argument, Member | None]]:
    """The arguments of a call; one that comes from a list has its member, and its place is the list's."""
    result: list[tuple[e.Argument, Member | None]] = []
    for argument in args:
        if isinstance(argument.value, e.Splice):
            for member in members(evaluate, argument.value.value, scope, suffix):
                spend(4, argument.span)
                result.append((e.Argument(None, member.node, span=argument.span), member))
                if len(result) > MAX_LIST:
                    raise error(f"a call with more than {MAX_LIST} arguments", argument.span, "use a shorter list")
        else:
            result.append((argument, None))
    return result


def bound_arguments(evaluate: Evaluator, binding: Binding, call: e.Call, scope: Scope) -> dict[str, Any]:
    """The arguments of a call to a binding, by parameter, not evaluated yet. Raises SpecError if they do not fit it."""
    spread = arguments(evaluate, call.args, scope)
    scopes = {id(argument): scope if member is None else member.scope for argument, member in spread}
    bound = bind_arguments(binding, replace(call, args=tuple(argument for argument, _ in spread)))
    return {name: Closure(argument.value, scopes[id(argument)]) for name, argument in bound.items()}


def _list(evaluate: Evaluator, node: e.Node, scope: Scope) -> list[Any]:
    value = evaluate.value(node, scope)
    if not isinstance(value, (list, tuple)):
        hint = "it stands before a list; what a module returns gets a name on a stream's line: `y = chunk(2)`, then `*y`"
        raise error("`*` needs a list", node.span, hint if isinstance(value, Closure) else "remove the `*`")
    return list(value)


def _named(value: Any, node: e.Node) -> tuple[e.Node, Scope]:
    """A value as an expression with its scope."""
    return e.Name("member", span=node.span), Scope().bind({"member": value})
