"""Checks of a stream: that what its lines name is used, and what its names hide."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Problem
from . import ast as e
from .param_names import target

_KINDS = {"": "wire", "shared": "shared module", "let": "recipe"}


def unread(body: e.StreamBody) -> set[tuple[int, str]]:
    """The names that nothing reads before another line takes them: the id of the line, and the name.

    >>> from metablock.language.parser import expression
    >>> body = expression("x -> a = conv(c) b = conv(c) return b").body
    >>> [name for _, name in unread(body)]
    ['a']
    """
    idle: set[tuple[int, str]] = set()
    wanted = {name for output in body.outputs for name in _names(output)}
    for line in reversed(body.lines):
        idle.update((id(line), name) for name in line.targets if name not in wanted)
        wanted.difference_update(line.targets)
        inside = _names(line.value) - {param.name for param in line.params}
        wanted.update(inside, *(_names(param.default) for param in line.params if param.default is not None))
    return idle


def never_read(line: e.Assign, idle: set[tuple[int, str]]) -> Problem | None:
    """The problem of a line some of whose names nothing reads. ``idle`` are those of its stream (:func:`unread`)."""
    several = len(set(line.targets)) > 1
    names = [name for name in line.targets if (id(line), name) in idle and not (name == "_" and several)]
    if not names:
        return None
    place = "its place" if len(names) == 1 else "their place"
    drop = "drop the line" if line.word else f"drop the line (its parts are named `{target(line.targets)}`)"
    drop = f"write `_` in {place}" if several else drop
    shown, kind = " and ".join(f"'{name}'" for name in names), _KINDS[line.word]
    words = f"the {kind} {shown} is" if len(names) == 1 else f"the {kind}s {shown} are"
    read = "used" if line.word else "read"
    return Problem(f"{words} never {read}", line.span, f"use {'it' if len(names) == 1 else 'them'}, or {drop}")


def returned_twice(body: e.StreamBody) -> Iterator[Problem]:
    """A problem for each wire that a stream returns again."""
    returned: set[str] = set()
    for output in body.outputs:
        if isinstance(output, e.Name):
            if output.id in returned:
                hint = f"return it once; `{output.id} >> id` is a second stream"
                yield Problem(f"'{output.id}' is returned twice", output.span, hint)
            returned.add(output.id)


def bound_inside(body: e.Node) -> set[str]:
    """The names that streams and comprehensions of a body give to values, recipes and modules."""
    names: set[str] = set()
    for node in e.walk(body):
        if isinstance(node, e.Assign):
            names.update(node.targets)
        elif isinstance(node, e.Function):
            names.update(node.params)
        elif isinstance(node, e.Comprehension):
            names.add(node.var)
        elif isinstance(node, e.Parameter):
            names.add(node.name)
    return names


def _names(node: e.Node) -> set[str]:
    return {part.id for part in e.walk(node) if isinstance(part, e.Name)}
