"""Reads the entries of a located YAML tree: words, expressions, tables of bindings. Problems are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ..errors import MAX_PROBLEMS, Problem, Span, SpecError
from . import ast as e
from .parser import parse_header, parse_value
from .spec import Binding
from .yaml import Mapping, Node, Scalar, Sequence

T = TypeVar("T")


class EntryReader:
    """Collects problems instead of stopping at the first.

    Args:
        known: what is known to be wrong with the text; nothing is reported at their places.
        unread: places that were left out of the tree.

    Attributes:
        problems: the known ones, and those that were met.
        lost: the words of entries that could not be read: they may be names that are bound or used there.
    """

    def __init__(self, known: Iterable[Problem] = (), unread: Iterable[Span] = ()) -> None:
        self.problems: list[Problem] = list(known)
        self.unread = tuple(unread)
        self._known = [problem.span for problem in self.problems if problem.span is not None]
        self.lost: set[str] = set()
        for span in self.unread:
            self.lose(span)

    def wrong(self, message: str, span: Span | None, hint: str | None = None) -> None:
        """Notes a problem, unless something else is known to be wrong at its place."""
        self.note([Problem(message, span, hint)])

    def note(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Notes problems, and returns those that are no others' consequence. Raises SpecError where there are too many."""
        noted = list[Problem]()
        for problem in problems:
            known = problem.span is not None and any(_overlap(problem.span, span) for span in self._known)
            if not known and (problem.span is None or not self.is_unread(problem.span)):
                noted.append(problem)
        self.problems += noted
        if len(self.problems) >= MAX_PROBLEMS:
            raise SpecError(self.problems)
        return tuple(noted)

    def attempt(self, do: Callable[[Span], T], span: Span) -> T | None:
        """What is read at a place; None, with the problem noted, if it cannot be read."""
        try:
            return do(span)
        except SpecError as problem:
            self.note(problem.problems)
            return None

    def done(self) -> None:
        """Raises SpecError with all problems, if there are any."""
        if self.problems:
            raise SpecError(self.problems)

    def lose(self, span: Span) -> None:
        """Notes that a place could not be read."""
        self.lost |= e.words_in(span.content)

    def is_unread(self, span: Span) -> bool:
        """Whether a node has a part that was left out of the tree."""
        return any(_meet(span, place) for place in self.unread)

    def text(self, span: Span) -> str:
        """The text at a place, with what was left out there."""
        return " ".join([span.content, *(place.content for place in self.unread if _meet(span, place))])

    def expr(self, node: Node) -> e.Node:
        """Any YAML value as an expression: a scalar is parsed, each item of a list is one expression.

        What cannot be read is :class:`~metablock.language.ast.Broken`; its problems are noted.
        """
        if isinstance(node, Sequence):
            return e.List(tuple(map(self.expr, node.items)), span=node.span)
        problems: tuple[Problem, ...] = ()
        if isinstance(node, Mapping):
            message = "an expression is expected here, not a mapping"
            problems = (Problem(message, node.span, _mapping_hint(node)),)
        elif not self.is_unread(node.span):
            try:
                return parse_value(node.content)
            except SpecError as wrong:
                problems = wrong.problems
        return e.Broken(self.note(problems), e.words_in(self.text(node.span)), span=node.span)

    def word(self, node: Node | None) -> str | None:
        if node is None:
            return None
        if isinstance(node, Scalar):
            return node.value
        self.wrong("a word is expected here", node.span, "write plain text, or text in quotes")
        return None

    def mapping(self, node: Node | None, what: str) -> Mapping | None:
        if node is None or isinstance(node, Mapping):
            return node
        if isinstance(node, Scalar) and not node.value:
            self.wrong(f"{what} is empty", node.span, "leave the key out, or give it entries")
            return None
        self.wrong(f"{what} must be a mapping", node.span, "write `key: value` lines below it")
        return None

    def table(self, node: Node | None) -> dict[str, Binding]:
        table: dict[str, Binding] = {}
        mapping = self.mapping(node, "a table of bindings")
        for key, value in mapping.entries if mapping else ():
            header = self.attempt(parse_header, key.content)
            if header is None:
                self.lose(key.span.to(value.span))
                continue
            body = self.expr(value)
            if header.name in table:
                self.wrong(f"'{header.name}' is bound twice", key.span, "give one of them another name")
            table[header.name] = Binding(header, body)
        return table

    def words(self, node: Node) -> tuple[str, ...]:
        """One word, or a list of words."""
        return tuple(self.word(item) or "" for item in (self.items(node) if isinstance(node, Sequence) else (node,)))

    def items(self, node: Sequence) -> tuple[Node, ...]:
        """The entries of a list of words. An empty one is a problem, also where YAML reads none: behind a last comma."""
        places = [item.span for item in node.items if isinstance(item, Scalar) and item.style == "plain" and not item.value]
        for span in [*places, *([node.comma] if node.comma else [])]:
            self.wrong("an entry of this list is empty", span, "write what is missing, or remove the comma or dash")
        return node.items

    def list(self, node: Node | None) -> tuple[e.Node, ...]:
        if node is None:
            return ()
        value = self.expr(node)
        return value.items if isinstance(value, e.List) else (value,)


def _overlap(a: Span, b: Span) -> bool:
    return a.start < max(b.end, b.start + 1) and b.start < max(a.end, a.start + 1)


def _meet(a: Span, b: Span) -> bool:
    """Whether two places of a text overlap or touch."""
    return a.start <= b.end and b.start <= a.end


def _mapping_hint(node: Node) -> str:
    if isinstance(node, Mapping) and any(key.value in ("shared", "let") for key, _ in node.entries):
        return "a block has them as lines of a stream: `shared f = ...`, `let f = ...`, then `return ...`"
    return "a mapping needs a key that is made for it"
