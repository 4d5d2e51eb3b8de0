"""Builds the nodes: one method for each rule and alias of the grammars. lark calls it with the rule's nodes and tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeAlias

from lark import Token

from ...errors import Problem, Span, Text
from .. import ast as e

Parts: TypeAlias = list[Any]  # nodes, and the tokens between them


class Builder:
    """Builds nodes, and collects the problems that the grammar cannot see."""

    def __init__(self) -> None:
        self.begin(Span(Text("", ""), 0, 0))

    def begin(self, span: Span) -> None:
        """Starts a new text."""
        self._text = span.text
        self._start = span.start
        self.problems: list[Problem] = []

    def _wrong(self, message: str, span: Span | None, hint: str) -> None:
        self.problems.append(Problem(message, span, hint))

    def _at(self, parts: Parts) -> Span:
        return Span(self._text, self._first(parts[0]), self._last(parts[-1]))

    def _first(self, part: Any) -> int:
        if isinstance(part, list):
            part = part[0]
        if isinstance(part, Token):
            return self._start + (part.start_pos or 0)
        span: Span = part.span
        return span.start

    def _last(self, part: Any) -> int:
        if isinstance(part, Token):
            return self._start + (part.end_pos or 0)
        span: Span = part.span
        return span.end

    # Atoms

    def name(self, parts: Parts) -> e.Name:
        return e.Name(str(parts[0]), span=self._at(parts))

    def number(self, parts: Parts) -> e.Number:
        text = str(parts[0])
        value = int(text) if text.isdigit() and len(text) < 20 else float(text)
        if value == float("inf"):
            self._wrong("this number is too large", self._at(parts), "at most about 1e308")
        return e.Number(value, span=self._at(parts))

    def string(self, parts: Parts) -> e.String:
        return e.String(str(parts[0])[1:-1], span=self._at(parts))

    def group(self, parts: Parts) -> e.Node:
        node: e.Node = parts[1]
        return replace(node, span=self._at(parts))

    def list(self, parts: Parts) -> e.List:
        return e.List(_nodes(parts), span=self._at(parts))

    def splice(self, parts: Parts) -> e.Splice:
        return e.Splice(parts[1], span=self._at(parts))

    def comprehension(self, parts: Parts) -> e.Comprehension:
        _, item, _, var, _, source, *rest = parts
        return e.Comprehension(item, str(var), source, rest[1] if len(rest) > 1 else None, span=self._at(parts))

    # Calls and subscripts

    def keyword(self, parts: Parts) -> e.Argument:
        return e.Argument(str(parts[0]), parts[2], span=self._at(parts))

    def call(self, parts: Parts) -> e.Call:
        func: e.Node = parts[0]
        args = tuple(a if isinstance(a, e.Argument) else e.Argument(None, a, span=a.span) for a in _nodes(parts[2:]))
        if not args:
            shown = func.span.content if func.span else "it"
            self._wrong("empty call brackets", self._at(parts[1:]), f"write `{shown}` without them")
        seen: set[str] = set()
        for arg in args:
            if arg.name is None and seen:
                self._wrong("a positional argument stands after a keyword argument", arg.span, "put it first, or name it")
            elif arg.name in seen:
                self._wrong(f"argument '{arg.name}' is given twice", arg.span, "remove one of them")
            if arg.name is not None:
                seen.add(arg.name)
        return e.Call(func, args, span=self._at(parts))

    def index(self, parts: Parts) -> e.Index:
        return e.Index(parts[0], parts[2], span=self._at(parts))

    def slice(self, parts: Parts) -> e.Slice:
        low = None if isinstance(parts[0], Token) else parts[0]
        high = None if isinstance(parts[-1], Token) else parts[-1]
        return e.Slice(low, high, span=self._at(parts))

    def attribute(self, parts: Parts) -> e.Attribute:
        return e.Attribute(parts[0], str(parts[2]), span=self._at(parts))

    # Operators and tests

    def negative(self, parts: Parts) -> e.Negative:
        return e.Negative(parts[1], span=self._at(parts))

    def binary(self, parts: Parts) -> e.Binary:
        return e.Binary(str(parts[1]), parts[0], parts[2], span=self._at(parts))

    def compare(self, parts: Parts) -> e.Compare:
        return e.Compare(str(parts[1]), parts[0], parts[2], span=self._at(parts))

    def either(self, parts: Parts) -> e.Logic:
        return e.Logic("or", parts[0], parts[2], span=self._at(parts))

    def both(self, parts: Parts) -> e.Logic:
        return e.Logic("and", parts[0], parts[2], span=self._at(parts))

    def negated(self, parts: Parts) -> e.Not:
        return e.Not(parts[1], span=self._at(parts))

    def choice(self, parts: Parts) -> e.Conditional:
        return e.Conditional(parts[0], parts[2], parts[4], span=self._at(parts))

    def sequence(self, parts: Parts) -> e.Chain:
        return e.Chain(_nodes(parts), span=self._at(parts))

    def concat(self, parts: Parts) -> e.Concat:
        return e.Concat(_nodes(parts), span=self._at(parts))

    # Streams

    def names(self, parts: Parts) -> Parts:
        """The tokens of the names; the node around them takes its place from them."""
        names = [part for part in parts if part.type == "NAME"]
        self._once((name for name in names if name != "_"), "the name '{}' stands twice", "give each value a name of its own")
        return names

    def assign(self, parts: Parts) -> e.Assign:
        return e.Assign(tuple(map(str, parts[0])), parts[2], span=self._at(parts))

    def declare(self, parts: Parts) -> e.Assign:
        word, name, params = parts[0], parts[1], tuple(part for part in parts[2:] if isinstance(part, e.Parameter))
        if word not in ("shared", "let"):
            hint = "a line is `name = ...`, `shared name = ...` (built once) or `let name = ...` (a recipe)"
            self._wrong(f"'{word}' begins no line of a stream", self._at(parts[:1]), hint)
        elif word == "shared" and params:
            hint = "`let f(a) = ...` is a recipe with parameters; each use of it builds anew"
            self._wrong("a shared module takes no parameters", self._at(list(params)), hint)
        if name == "_":
            self._wrong(f"`{word} _` declares nothing", self._at(parts[1:2]), "give it a name, or drop the line")
        self._parameters(params)
        return e.Assign((str(name),), parts[-1], str(word), params, span=self._at(parts))

    def named(self, parts: Parts) -> e.Argument:
        return self.keyword(parts)

    def block(self, parts: Parts) -> e.StreamBody:
        nodes = _nodes(parts)
        lines = tuple(node for node in nodes if isinstance(node, e.Assign))
        returned = nodes[len(lines) :]
        named = [node for node in returned if isinstance(node, e.Argument)]
        for i, node in enumerate(named):
            if node.name in [other.name for other in named[:i]]:
                self._wrong(f"the output '{node.name}' stands twice", node.span, "give each output a name of its own")
        names = tuple(node.name for node in named if node.name is not None)
        outputs = tuple(node.value if isinstance(node, e.Argument) else node for node in returned)
        return e.StreamBody(lines, outputs, names, span=self._at(parts))

    def function(self, parts: Parts) -> e.Function:
        return e.Function(tuple(map(str, parts[0])), parts[2], span=self._at(parts))

    # Bindings and edits

    def parameter(self, parts: Parts) -> e.Parameter:
        return e.Parameter(str(parts[0]), parts[2] if len(parts) > 1 else None, span=self._at(parts))

    def header(self, parts: Parts) -> e.Header:
        params = _nodes(parts[1:])
        self._parameters(params)
        return e.Header(str(parts[0]), params, span=self._at(parts))

    def _parameters(self, params: tuple[e.Parameter, ...]) -> None:
        for i, param in enumerate(params):
            if param.name in [other.name for other in params[:i]]:
                self._wrong(f"the parameter '{param.name}' stands twice", param.span, "give each parameter a name of its own")
            elif param.default is None and any(other.default is not None for other in params[:i]):
                message = f"the parameter '{param.name}' has no default and follows one that has"
                self._wrong(message, param.span, "put it before those with a default")

    def stage_target(self, parts: Parts) -> e.StageTarget:
        if parts[0] != "stages":
            span = self._at(parts[:1])
            self._wrong(f"'{parts[0]}' has no slots of its own", span, "write `token`, or `stages[2].token` for one stage")
        at = next(iter(_nodes(parts[:-1])), None)
        return e.StageTarget(at, str(parts[-1]), span=self._at(parts))

    def edit(self, parts: Parts) -> tuple[e.Node, e.Node]:
        return parts[0], parts[2]

    def _once(self, tokens: Iterable[Token], message: str, hint: str) -> None:
        seen: set[str] = set()
        for token in tokens:
            if str(token) in seen:
                self._wrong(message.format(token), self._at([token]), hint)
            seen.add(str(token))


def _nodes(parts: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(part for part in parts if isinstance(part, e.Node))
