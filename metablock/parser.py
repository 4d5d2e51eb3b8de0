"""Text to expressions: lark does the parsing, this room the nodes and the messages."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from . import expr as e
from .errors import Problem, Span, SpecError, Text, error
from .resources import grammar

MAX_DEPTH = 100


def parse_value(span: Span) -> e.Node:
    """An expression, a function ``x -> ...`` or a block of lines with a ``return``."""
    return _parse(span, "value")


def parse_header(span: Span) -> e.Header:
    """A binding's name with its parameters: ``ffn(r=4)``."""
    result = _parse(span, "header")
    assert isinstance(result, e.Header)
    return result


def parse_edit(span: Span) -> tuple[e.Header | e.StageTarget, e.Node]:
    """``target = value``."""
    result = _parse(span, "edit")
    assert isinstance(result, tuple)
    return result


def parse_target(span: Span) -> e.Header | e.StageTarget:
    """What stands left of an edit's ``=`` (a variant's key)."""
    result = _parse(span, "target")
    assert isinstance(result, (e.Header, e.StageTarget))
    return result


def expression(text: str, name: str = "<expression>") -> e.Node:
    """Parses a piece of text that stands in no file."""
    return parse_value(whole(text, name))


def whole(text: str, name: str) -> Span:
    """The span of all of a text."""
    return Span(Text(name, text), 0, len(text))


def _parse(span: Span, start: str) -> Any:
    text = span.content
    _limit_nesting(span, text)
    build = _Build(span)
    try:
        tree = _lark().parse(text, start=start)
        result = build.transform(tree)
    except UnexpectedInput as problem:
        raise _explain(problem, span, text) from None
    except VisitError as problem:
        raise problem.orig_exc from None
    if build.problems:
        raise SpecError(build.problems)
    if isinstance(result, e.Node) and _depth(result) > MAX_DEPTH:
        raise error(f"the expression is nested more than {MAX_DEPTH} deep", span, "name its parts in `let`")
    return result


@cache
def _lark() -> Lark:
    return Lark(
        grammar("block") + grammar("edit"),
        parser="lalr",
        start=["value", "header", "edit", "target"],
        propagate_positions=True,
        maybe_placeholders=True,
    )


def _limit_nesting(span: Span, text: str) -> None:
    depth = 0
    for match in re.finditer(r"[(\[)\]]", text):
        depth += 1 if match[0] in "([" else -1
        if depth > MAX_DEPTH:
            place = span.part(match.start(), match.end())
            raise error(f"brackets are nested more than {MAX_DEPTH} deep", place, "name the inner parts in `let`")


def _depth(root: e.Node) -> int:
    deepest, stack = 0, [(root, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        stack.extend((child, depth + 1) for child in e.children(node))
    return deepest


@v_args(meta=True)
class _Build(Transformer[Token, Any]):
    """Trees to nodes. The rule names are those of the grammar."""

    def __init__(self, span: Span):
        super().__init__()
        self._span = span
        self.problems: list[Problem] = []

    def _at(self, meta: Any) -> Span:
        if getattr(meta, "empty", True):
            return self._span
        return self._span.part(meta.start_pos, meta.end_pos)

    def _token(self, token: Token) -> Span:
        return self._span.part(token.start_pos or 0, token.end_pos or 0)

    def _problem(self, message: str, span: Span | None, hint: str | None = None) -> None:
        self.problems.append(Problem(message, span, hint))

    def name(self, meta: Any, parts: list[Any]) -> e.Name:
        return e.Name(str(parts[0]), span=self._at(meta))

    def number(self, meta: Any, parts: list[Any]) -> e.Number:
        text = str(parts[0])
        value = int(text) if text.isdigit() and len(text) < 20 else float(text)
        if value == float("inf"):
            self._problem(f"the number {text[:20]} is too large", self._at(meta))
        return e.Number(value, span=self._at(meta))

    def string(self, meta: Any, parts: list[Any]) -> e.String:
        return e.String(str(parts[0])[1:-1], span=self._at(meta))

    def group(self, meta: Any, parts: list[Any]) -> e.Node:
        return parts[0]  # type: ignore[no-any-return]

    def list(self, meta: Any, parts: list[Any]) -> e.List:
        return e.List(tuple(p for p in parts if p is not None), span=self._at(meta))

    def splice(self, meta: Any, parts: list[Any]) -> e.Splice:
        return e.Splice(parts[-1], span=self._at(meta))

    def comprehension(self, meta: Any, parts: list[Any]) -> e.Comprehension:
        return e.Comprehension(parts[0], str(parts[1]), parts[2], span=self._at(meta))

    def keyword(self, meta: Any, parts: list[Any]) -> e.Argument:
        return e.Argument(str(parts[0]), parts[1], span=self._at(meta))

    def call(self, meta: Any, parts: list[Any]) -> e.Call:
        func, *given = parts
        args = tuple(a if isinstance(a, e.Argument) else e.Argument(None, a, span=a.span) for a in given if a is not None)
        if not args:
            shown = self._at(meta)
            self._problem("empty call brackets", shown, f"write `{func.span.content if func.span else 'name'}` without them")
        seen: set[str] = set()
        for arg in args:
            if arg.name is None and seen:
                self._problem("a positional argument stands after a keyword argument", arg.span, "put it first, or name it")
            elif arg.name is not None and arg.name in seen:
                self._problem(f"argument '{arg.name}' is given twice", arg.span, "remove one of them")
            if arg.name is not None:
                seen.add(arg.name)
        return e.Call(func, args, span=self._at(meta))

    def index(self, meta: Any, parts: list[Any]) -> e.Index:
        return e.Index(parts[0], parts[1], span=self._at(meta))

    def slice(self, meta: Any, parts: list[Any]) -> e.Slice:
        return e.Slice(parts[0], parts[2], span=self._at(meta))

    def attribute(self, meta: Any, parts: list[Any]) -> e.Attribute:
        return e.Attribute(parts[0], str(parts[1]), span=self._at(meta))

    def negative(self, meta: Any, parts: list[Any]) -> e.Node:
        value = parts[-1]
        return e.Negative(value, span=self._at(meta))

    def binary(self, meta: Any, parts: list[Any]) -> e.Binary:
        return e.Binary(str(parts[1]), parts[0], parts[2], span=self._at(meta))

    def compare(self, meta: Any, parts: list[Any]) -> e.Compare:
        return e.Compare(str(parts[1]), parts[0], parts[2], span=self._at(meta))

    def either(self, meta: Any, parts: list[Any]) -> e.Logic:
        return e.Logic("or", parts[0], parts[1], span=self._at(meta))

    def both(self, meta: Any, parts: list[Any]) -> e.Logic:
        return e.Logic("and", parts[0], parts[1], span=self._at(meta))

    def negated(self, meta: Any, parts: list[Any]) -> e.Not:
        return e.Not(parts[0], span=self._at(meta))

    def choice(self, meta: Any, parts: list[Any]) -> e.Choice:
        return e.Choice(parts[0], parts[1], parts[2], span=self._at(meta))

    def sequence(self, meta: Any, parts: list[Any]) -> e.Sequence:
        return e.Sequence(tuple(parts), span=self._at(meta))

    def concat(self, meta: Any, parts: list[Any]) -> e.Concat:
        return e.Concat(tuple(parts), span=self._at(meta))

    def names(self, meta: Any, parts: list[Any]) -> tuple[str, ...]:
        names = tuple(str(p) for p in parts)
        if len(set(names)) < len(names):
            self._problem("the same name stands twice", self._at(meta), "give each value a name of its own")
        return names

    def assign(self, meta: Any, parts: list[Any]) -> e.Assign:
        return e.Assign(parts[0], parts[1], span=self._at(meta))

    def named(self, meta: Any, parts: list[Any]) -> e.Argument:
        return e.Argument(str(parts[0]), parts[1], span=self._at(meta))

    def block(self, meta: Any, parts: list[Any]) -> e.Block:
        lines = tuple(p for p in parts if isinstance(p, e.Assign))
        returned = [p for p in parts if not isinstance(p, e.Assign)]
        names = tuple(p.name for p in returned if isinstance(p, e.Argument) and p.name)
        if len(set(names)) < len(names):
            self._problem("an output's name stands twice", self._at(meta), "give each output a name of its own")
        outputs = tuple(p.value if isinstance(p, e.Argument) else p for p in returned)
        return e.Block(lines, outputs, names, span=self._at(meta))

    def function(self, meta: Any, parts: list[Any]) -> e.Function:
        return e.Function(parts[0], parts[1], span=self._at(meta))

    def parameter(self, meta: Any, parts: list[Any]) -> e.Parameter:
        return e.Parameter(str(parts[0]), parts[1], span=self._at(meta))

    def header(self, meta: Any, parts: list[Any]) -> e.Header:
        params = tuple(p for p in parts[1:] if p is not None)
        names = [p.name for p in params]
        if len(set(names)) < len(names):
            self._problem("a parameter stands twice", self._at(meta), "give each parameter a name of its own")
        optional = False
        for param in params:
            if param.default is None and optional:
                self._problem(f"parameter '{param.name}' without a default follows one with a default", param.span, "put it first")
            optional = optional or param.default is not None
        return e.Header(str(parts[0]), params, span=self._at(meta))

    def stage_target(self, meta: Any, parts: list[Any]) -> e.StageTarget:
        at = None if parts[0] is None or isinstance(parts[0], Token) else parts[0]
        return e.StageTarget(at, str(parts[1]), span=self._at(meta))

    def edit(self, meta: Any, parts: list[Any]) -> tuple[Any, e.Node]:
        return parts[0], parts[1]


# What was met, what was wrong, how to mend it. A test reads every line of this table.
_MISTAKES: tuple[tuple[str, str, str], ...] = (
    ("|", "'|' is not an operator", "channels are concatenated with `||`"),
    (">", "'>' cannot stand here", "a sequence is written `a >> b`"),
    ("'", "a string stands in double quotes", 'write "word"'),
    ("&", "'&' is not an operator", "tests are joined with `and`"),
    ("^", "'^' is not an operator", "powers are written `**`"),
    ('"', "the string is not closed", 'strings end with `"` on the same line'),
    ("{", "'{' cannot stand here", "braces belong to YAML; a list is written with `[ ]`"),
)


def _explain(problem: UnexpectedInput, span: Span, text: str) -> SpecError:
    if isinstance(problem, UnexpectedCharacters):
        start = problem.pos_in_stream or 0
        char = text[start]
        place = span.part(start, start + 1)
        for met, message, hint in _MISTAKES:
            if char == met:
                return error(message, place, hint)
        return error(f"unexpected character {char!r}", place, "remove it")
    assert isinstance(problem, UnexpectedToken)
    token = problem.token
    if token.type == "$END":
        end = len(text.rstrip())
        place = span.part(max(0, end - 1), max(1, end))
        if not text.strip():
            return error("an expression is missing", span, "write `id` for a module that does nothing, `none` for one that is absent")
        return error("the expression ends too early", place, _unclosed(text))
    start = token.start_pos or 0
    place = span.part(start, token.end_pos or start + 1)
    word = str(token)
    if word in (">>", "||") and {">>", "||"} & set(re.findall(r">>|\|\|", text[:start])):
        return error("`>>` and `||` do not mix without parentheses", place, "write `(a >> b) || c` or `a >> (b || c)`")
    if word == "=":
        return error("'=' cannot stand here", place, "comparisons are written `==`; a line `name = ...` needs a `return` at the end")
    if word in "])":
        return error(f"unexpected '{word}'", place, _unclosed(text[:start]) or "remove it")
    if word in ("->", "return", "for", "in", "if", "else", "and", "or", "not"):
        return error(f"'{word}' cannot stand here", place, "it is a word of the language, not a name")
    return error(f"unexpected '{word}'", place, _missing(problem))


def _unclosed(text: str) -> str | None:
    stack: list[str] = []
    for char in re.sub(r'"[^"\n]*"|#[^\n]*', "", text):
        if char in "([":
            stack.append(char)
        elif char in ")]" and stack:
            stack.pop()
    return f"a `{stack[-1]}` is not closed" if stack else None


def _missing(problem: UnexpectedToken) -> str:
    before = str(problem.token_history[-1]) if problem.token_history else ""
    if problem.token.type in ("NAME", "NUMBER", "STRING") and before and (before[-1].isalnum() or before[-1] in ")]_\""):
        return "an operator is missing before it: `>>`, `,` ..."
    return "a name, a number or a bracket should stand here"
