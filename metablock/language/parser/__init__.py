"""Text to expressions: lark follows the grammar, this room has the nodes (``build.py``) and the messages (``mistakes.py``).

Nothing here recurses: lark's LALR parser keeps a stack of its own, and nodes are made while it reduces. So a hostile text of a
hundred thousand brackets costs a moment and gives a message.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Any

from lark import Lark
from lark.exceptions import UnexpectedInput

from ...errors import Span, SpecError, Text, error
from .. import ast as e
from ..resources import grammar
from .build import Builder
from .mistakes import explain

MAX_DEPTH = 100


def parse_value(span: Span) -> e.Node:
    """An expression, a function ``x -> ...`` or a block of lines with a ``return``."""
    result = _parse(span, "value")
    assert isinstance(result, e.Node)
    return result


def parse_header(span: Span) -> e.Header:
    """A binding's name with its parameters: ``ffn(r=4)``."""
    result = _parse(span, "header")
    assert isinstance(result, e.Header)
    return result


def parse_edit(span: Span) -> tuple[e.Header | e.StageTarget, e.Node]:
    """``target = value``."""
    target, value = _parse(span, "edit")
    assert isinstance(target, (e.Header, e.StageTarget))
    assert isinstance(value, e.Node)
    return target, value


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
    lark, builder = _parser()
    with _lock:
        builder.begin(span)
        try:
            result: Any = lark.parse(span.content, start=start)
        except UnexpectedInput as wrong:
            raise explain(wrong, span, start) from None
        problems = builder.problems
    if problems:
        raise SpecError(problems)
    for part in result if isinstance(result, tuple) else (result,):
        _limit_depth(part)
    return result


_lock = Lock()  # the one builder knows the text that is being read


@cache
def _parser() -> tuple[Lark, Builder]:
    """Parser and builder. Lark's basic lexer, so that the language's words are nowhere names, and quicker to construct."""
    builder = Builder()
    lark = Lark(
        grammar("block") + grammar("edit"),
        parser="lalr",
        lexer="basic",
        start=["value", "header", "edit", "target"],
        keep_all_tokens=True,  # a node's span goes from its first token to its last
        maybe_placeholders=False,
        transformer=builder,
    )
    return lark, builder


def _limit_depth(root: e.Node) -> None:
    """Later rooms recurse."""
    stack = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise error(f"an expression nested more than {MAX_DEPTH} deep", node.span, "name its parts in `let`")
        stack.extend((child, depth + 1) for child in e.children(node))
