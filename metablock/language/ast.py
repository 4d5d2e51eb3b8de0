"""The syntax tree of expressions: frozen data. Nodes carry their positions, which comparisons ignore."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from ..errors import Problem, Span
from .budget import spend


@dataclass(frozen=True, slots=True)
class Node:
    """An expression; ``span`` is its place in a text, None for a node that was built in Python."""

    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


Expr = Node


@dataclass(frozen=True, slots=True)
class Name(Node):
    id: str


@dataclass(frozen=True, slots=True)
class Number(Node):
    value: int | float


@dataclass(frozen=True, slots=True)
class String(Node):
    value: str


@dataclass(frozen=True, slots=True)
class List(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Splice(Node):
    """``*x`` inside a list, or as an argument of a call."""

    value: Node


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    """``[item for var in source]``, or ``[item for var in source if test]``."""

    item: Node
    var: str
    source: Node
    test: Node | None = None


@dataclass(frozen=True, slots=True)
class Argument(Node):
    """One argument of a call; ``name`` is None for a positional one."""

    name: str | None
    value: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    func: Node
    args: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Index(Node):
    base: Node
    at: Node


@dataclass(frozen=True, slots=True)
class Slice(Node):
    low: Node | None
    high: Node | None


@dataclass(frozen=True, slots=True)
class Attribute(Node):
    base: Node
    name: str


@dataclass(frozen=True, slots=True)
class Negative(Node):
    value: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """``+ - * / // % **``."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Compare(Node):
    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logic(Node):
    """``and``, ``or``."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Not(Node):
    value: Node


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """``then if test else other``."""

    then: Node
    test: Node
    other: Node


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """``a >> b >> c``. A chain inside a chain stood in parentheses."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Concat(Node):
    """``a || b``."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    name: str
    default: Node | None


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """A line of a stream: ``a, b = expr``. With the word ``shared`` or ``let`` it declares one name, ``let`` with parameters."""

    targets: tuple[str, ...]
    value: Node
    word: str = ""
    params: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamBody(Node):
    """Lines ``name = expr`` and a ``return``; ``names`` are the outputs' names, or empty."""

    lines: tuple[Assign, ...]
    outputs: tuple[Node, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function(Node):
    """``x, z -> body``: gives names to the inputs."""

    params: tuple[str, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Header(Node):
    """``name`` or ``name(a, b=1)``: a binding's name and parameters."""

    name: str
    params: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class StageTarget(Node):
    """``stages[at].name``; ``at`` is an expression, a slice, or None for all stages."""

    at: Node | None
    name: str


@dataclass(frozen=True, slots=True)
class Broken(Node):
    """What stands for a text that could not be read: its problems, which are reported already, and the words in it."""

    problems: tuple[Problem, ...]
    words: frozenset[str]


def words_in(text: str) -> frozenset[str]:
    """The words of a text that may be names.

    >>> sorted(words_in("conv(dim,, k"))
    ['conv', 'dim', 'k']
    """
    return frozenset(re.findall(r"[^\W\d]\w*", text))


_FIELDS: dict[type, tuple[str, ...]] = {}


def _fields(node: Node) -> tuple[str, ...]:
    kind = type(node)
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple(item.name for item in fields(node))
    return _FIELDS[kind]


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below this one, in the order of the text.

    >>> [child.id for child in children(Chain((Name("norm"), Name("token"))))]
    ['norm', 'token']
    """
    for name in _fields(node):
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            for element in value:
                if isinstance(element, Node):
                    yield element


def walk(node: Node) -> Iterator[Node]:
    """This node and all nodes below it, in the order of the text.

    >>> [type(node).__name__ for node in walk(Negative(Number(1)))]
    ['Negative', 'Number']
    """
    stack, count = [node], 0
    while stack:
        top = stack.pop()
        yield top
        stack.extend(reversed(list(children(top))))
        count += 1
        if not count % 64:
            spend(24, top.span)
    spend(count % 64 * 3 // 8)
