"""Translates PyYAML's syntax errors."""

from __future__ import annotations

import re

import yaml

from ...errors import Problem, Span, Text

_QUOTE = "put text that contains it in double quotes, an expression below `|`"

# Errors whose problem mark is the end of the mistake, and whose context mark is its beginning.
_BEGINNING = re.compile(r"expected ':'|scanning an (alias|anchor)|scanning a block scalar|unexpected (end|document)")

# PyYAML's message, the line up to and including the place, our message, our hint. The first row that matches applies.
SYNTAX = (
    (r"found character '\\t'", "", "a tab may not stand here", "YAML indents and separates with spaces only"),
    (r"cannot start any token", "", "text may not begin with '{char}'", _QUOTE),
    (
        r"could not find expected ':'",
        "",
        "a ':' is missing after this key",
        "write `key: value`, with a space after the colon; indent the line further if it continues the one above",
    ),
    (
        r"mapping values are not allowed",
        r":\s.*:$",
        "a second ': ' in one value",
        "put text that contains ': ' in double quotes, a key on a line of its own",
    ),
    (
        r"mapping values are not allowed",
        "",
        "this line continues the value above, and may have no ': '",
        "indent a new key like the keys above it; the line above may lack its ':'",
    ),
    (
        r"sequence entries are not allowed",
        "",
        "a `- ` entry may not begin here",
        "write the `- ` lines below the key, or the list inside [ ]",
    ),
    (r"mapping keys are not allowed", "", "a '? ' may not stand here", _QUOTE),
    (r"scanning an (alias|anchor)", "", "'{char}' begins no value", "YAML reads it as an alias or anchor: " + _QUOTE),
    (
        r"scanning a block scalar",
        "",
        "'{char}' may not stand here: with it YAML begins a block of text",
        "write the whole expression or text on the lines below a `|`, indented",
    ),
    (r"unexpected (end of stream|document)", "", "this quote is never closed", "add the closing quote at the end of the text"),
    (r"escape", "", "an unknown escape in double quotes", r"write \\ for a backslash, or use single quotes"),
    (
        r"parsing a flow",
        r"[\w)\]][\[{]$",
        "'{char}' may not follow text inside [ ] or { }",
        "YAML reads a list of its own there: name the expression in `let`, or write the list as `- ` lines",
    ),
    (r"parsing a flow", r"[\[{,]\s*:$", "a key is missing before this ':'", "write `key: value`"),
    (r"parsing a flow", r"[?:]$", "'{char}' may not stand here inside [ ] or { }", "put text that contains it in double quotes"),
    (r"parsing a flow", r"[]}]$", "'{char}' does not match the bracket before it", "close each bracket with its own kind"),
    (r"parsing a flow", r",$", "nothing stands before this ','", "remove one comma, or put the missing entry"),
    (r"parsing a flow.* '-'$", "", "a `- ` entry may not stand inside [ ] or { }", "separate entries with commas"),
    (r"parsing a flow", "", "a ',' is missing before this", "a comma separates entries; a quote or bracket ends one"),
    (r"block|document start", r"[],}]$", "unexpected '{char}'", "it separates or closes nothing here: " + _QUOTE),
    (
        r"found '<block \w+ start>'",
        "",
        "this line's indentation fits no line above",
        "the entries of a mapping or list begin in the same column",
    ),
    (r"found ':'", "", "a key is missing before this ':'", "write `key: value`"),
    (r"found '-'", "", "a `- ` line may not stand among keys", "a mapping has lines of `key: value`, a list `- ` lines"),
    (r"found '\?'", "", "a key may not stand among `- ` lines", "a mapping has lines of `key: value`, a list `- ` lines"),
    (
        r"block end|document start",
        "",
        "the value before this has ended",
        "a quote, bracket or comment ended it, or the indentation: write a longer expression below `|`",
    ),
    (r"", "", "this is not YAML", "write `key: value` lines, lists inside [ ] or as `- ` lines"),
)


def translate(bad: yaml.MarkedYAMLError, text: Text, bracket: int | None) -> tuple[Problem, bool]:
    """A problem for PyYAML's error, and whether its cause is that ``bracket``, the last open one, is never closed."""
    content = text.content
    place = bad.problem_mark.index if bad.problem_mark else 0
    if bracket is not None and _unclosed(text, bracket, place):
        span = Span(text, bracket, bracket + 1)
        return Problem(f"this '{content[bracket]}' is never closed", span, "close it, after its last entry"), True
    said = f"{bad.context}: {bad.problem}"
    before = content[content.rfind("\n", 0, place) + 1 : place + 1][-200:]
    message, hint = next(row[2:] for row in SYNTAX if re.search(row[0], said) and re.search(row[1], before))
    if bad.context_mark and _BEGINNING.search(said):
        place = bad.context_mark.index
    char = content[place : place + 1]
    return Problem(message.replace("{char}", char), Span(text, place, place + len(char)), hint.replace("{char}", char)), False


def _unclosed(text: Text, start: int, place: int) -> bool:
    """Whether an open bracket causes the error: the text ended, or the next line is indented no more than the bracket's line."""
    first, line = text.place(start)[0], text.place(place)[0]
    return place >= len(text.content) or (line > first and _indent(text.line(line)) <= _indent(text.line(first)))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
