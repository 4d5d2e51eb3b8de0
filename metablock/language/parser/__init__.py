"""Parses expressions: lark follows the grammar, ``build.py`` builds the nodes, ``mistakes.py`` words the errors.

Nothing here recurses: lark's LALR parser has a stack of its own, and nodes are built as it reduces. A hostile text of a hundred
thousand brackets costs a moment and ends in a message.
"""

from __future__ import annotations

import marshal
import sys
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import Any

import lark
from lark import Lark
from lark.exceptions import UnexpectedInput
from lark.grammar import Rule
from lark.lexer import TerminalDef

from ... import cache as disk
from ...errors import Span, SpecError, Text, error
from .. import ast as e
from ..resources import grammar
from .build import Builder
from .mistakes import explain

MAX_DEPTH = 100
KIND = "grammar"  # of entries in the cache
# With lark's basic lexer keywords are never names, and the parser is built faster. All tokens are kept: a node's span goes from
# its first to its last.
OPTIONS: dict[str, Any] = {
    "parser": "lalr",
    "lexer": "basic",
    "start": ["value", "header", "edit", "target", "test"],
    "keep_all_tokens": True,
    "maybe_placeholders": False,
}


def parse_value(span: Span) -> e.Node:
    """Parses an expression, a function ``x -> ...``, or lines with a ``return``. Raises SpecError at the first mistake.

    >>> parse_value(whole("conv(8) >> norm", "net.yaml")).items[1].id
    'norm'
    """
    result = _parse(span, "value")
    assert isinstance(result, e.Node)
    return result


def parse_test(span: Span) -> e.Node:
    """Parses a test, as it stands behind an `if`. Raises SpecError.

    >>> parse_test(whole("i > 0 and not j", "net.yaml")).op
    'and'
    """
    result = _parse(span, "test")
    assert isinstance(result, e.Node)
    return result


def parse_header(span: Span) -> e.Header:
    """Parses a binding's name with its parameters. Raises SpecError.

    >>> parse_header(whole("ffn(r=4)", "net.yaml")).params[0].name
    'r'
    """
    result = _parse(span, "header")
    assert isinstance(result, e.Header)
    return result


def parse_edit(span: Span) -> tuple[e.Header | e.StageTarget, e.Node]:
    """Parses an edit, ``target = value``. Raises SpecError.

    >>> target, value = parse_edit(whole("stages[2].token = id", "--edit"))
    >>> target.at.value, target.name, value.id
    (2, 'token', 'id')
    """
    target, value = _parse(span, "edit")
    assert isinstance(target, (e.Header, e.StageTarget))
    assert isinstance(value, e.Node)
    return target, value


def parse_target(span: Span) -> e.Header | e.StageTarget:
    """Parses the left side of an edit, which is also a variant's key. Raises SpecError.

    >>> parse_target(whole("stages[1:].depth", "net.yaml")).at.low.value
    1
    """
    result = _parse(span, "target")
    assert isinstance(result, (e.Header, e.StageTarget))
    return result


def expression(text: str, name: str = "<expression>") -> e.Node:
    """Parses an expression that is in no file; ``name`` is what messages call it. Raises SpecError.

    >>> expression("2 * dim").op
    '*'
    """
    return parse_value(whole(text, name))


def whole(text: str, name: str) -> Span:
    """The span of a whole text; ``name`` is what messages call it.

    >>> whole("token = id", "--edit").content
    'token = id'
    """
    return Span(Text(name, text), 0, len(text))


def _parse(span: Span, start: str) -> Any:
    parser, builder = _parser()
    with _lock:
        builder.begin(span)
        try:
            result: Any = parser.parse(span.content, start=start)
        except UnexpectedInput as wrong:
            raise explain(wrong, span, start) from None
        problems = builder.problems
    if problems:
        raise SpecError(problems)
    for part in result if isinstance(result, tuple) else (result,):
        _limit_depth(part)
    return result


_lock = Lock()  # all calls share one builder, which holds the text that is being read


@cache
def _parser() -> tuple[Lark, Builder]:
    """Parser and builder. The tables that lark makes of the grammar are kept on disk."""
    builder, text = Builder(), grammar("block") + grammar("edit")
    key = disk.digest(text, str(OPTIONS), lark.__version__, sys.version)
    known = disk.load(KIND, key)
    if known is not None:
        with suppress(Exception):  # whatever lark raises at tables that are none
            tables = marshal.loads(known)
            read: Any = Lark._load_from_dict
            return read(tables["data"], tables["memo"], transformer=builder), builder
    parser = Lark(text, transformer=builder, **OPTIONS)
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["options"]["transformer"] = None
    with suppress(ValueError):  # tables with more than plain values, of another lark
        disk.store(KIND, key, marshal.dumps({"data": data, "memo": memo}))
    return parser, builder


def _limit_depth(root: e.Node) -> None:
    """Raises SpecError for an expression that the recursive passes after this one could not walk."""
    stack = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise error(f"an expression nested more than {MAX_DEPTH} deep", node.span, "name its parts in `let`")
        stack.extend((child, depth + 1) for child in e.children(node))
