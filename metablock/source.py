"""Reads a spec's text: strict YAML into nodes that know their place. No torch, and nothing of the language itself.

Why a reader of our own, on the events of PyYAML's pure-Python parser, and not ``yaml.safe_load``:

- *Places.* Expressions are parsed from the raw text of a scalar (``Scalar.content``: exact offsets into the file), so that a
  message from any later room points into the line a person wrote. A loaded ``dict`` has forgotten all of it.
- *Honesty.* YAML's own guesses (``no`` is false, ``1e-6`` a string, the second of two equal keys wins) are not what a spec says:
  every scalar stays the text it is, and duplicate keys, tags, merges, directives and second documents are errors.
- *Strangers' files.* Size, depth, aliases and expanded nodes are capped on the events, before anything is composed; nothing here
  recurses. PyYAML's C parser is never used: it crashes the process on deep nesting.
- *Words.* All problems of a file are collected; those after which YAML cannot be read on end the reading. PyYAML's texts are
  translated (``_SYNTAX``), never shown. A call that YAML would cut at its comma, ``[pool(3, 4), id]``, is named as what it is.

A literal's ``content`` keeps its indentation, and the line breaks of a Windows file stay ``\\r\\n`` in every ``content``
(``value`` has ``\\n``). Where a text begins with a byte order mark, the spans belong to a copy of it without the mark.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeAlias

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner
from yaml.tokens import AnchorToken, TagToken, ValueToken

from metablock.errors import Problem, Span, SpecError, Text, error, suggest

Style = Literal["plain", "single", "double", "literal", "folded"]


@dataclass(frozen=True)
class Scalar:
    """A text. ``content`` is the raw part between quotes or below a block's header, ``value`` what YAML makes of it."""

    span: Span = field(compare=False, repr=False)
    content: Span = field(compare=False, repr=False)
    value: str
    style: Style


@dataclass(frozen=True)
class Sequence:
    """A list: ``[a, b]`` (``flow``) or ``- `` lines."""

    span: Span = field(compare=False, repr=False)
    items: tuple[Node, ...]
    flow: bool


@dataclass(frozen=True)
class Mapping:
    """Keys with values, in the file's order: ``{a: b}`` (``flow``) or ``a: b`` lines. No key occurs twice."""

    span: Span = field(compare=False, repr=False)
    entries: tuple[tuple[Scalar, Node], ...]
    flow: bool

    def get(self, key: str) -> Node | None:
        return next((value for name, value in self.entries if name.value == key), None)

    def keys(self) -> tuple[str, ...]:
        return tuple(key.value for key, _ in self.entries)


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(frozen=True)
class Limits:
    """What a file may cost. A paper's spec needs a hundredth of it."""

    size: int = 1 << 20  # bytes of a file, characters of a text
    depth: int = 50  # collections within each other, aliases followed
    aliases: int = 64
    nodes: int = 100_000  # with every alias expanded
    scalar: int = 100_000  # characters
    problems: int = 20  # more are not collected


def read(text: Text, limits: Limits = Limits()) -> Mapping:
    """The mapping a text holds; otherwise a :class:`SpecError` with all that is wrong with it."""
    if text.content.startswith("\ufeff"):
        text = Text(text.name, text.content[1:])
    if len(text.content) > limits.size:
        raise error(f"the text is longer than {limits.size} characters", Span(text, 0, 1), _TOO_LARGE)
    if bad := _FORBIDDEN.search(text.content):
        raise error(_forbidden(bad[0]), Span(text, bad.start(), bad.end()), _ORDINARY)
    return _Composer(text, limits).run()


def read_file(path: str | os.PathLike[str], limits: Limits = Limits()) -> Mapping:
    """The same for a file in UTF-8."""
    name = os.fspath(path)
    data = _load(name, limits.size)
    try:
        content = data.decode()
    except UnicodeDecodeError as bad:
        text = Text(name, data.decode(errors="replace"))
        start = len(data[: bad.start].decode())
        raise error("the file is not UTF-8 text", Span(text, start, start + 1), "save it as UTF-8") from None
    return read(Text(name, content), limits)


def _load(name: str, size: int) -> bytes:
    try:
        large = os.stat(name).st_size > size
        data = b"" if large else _head(name, size + 1)
    except FileNotFoundError:
        raise error(f"there is no file '{name}'", hint="check the path, relative to where you are") from None
    except IsADirectoryError:
        raise error(f"'{name}' is a directory", hint="name a .yaml file in it") from None
    except (OSError, ValueError) as bad:  # ValueError: no path at all (it has a NUL)
        reason = bad.strerror if isinstance(bad, OSError) else "this is not a path"
        raise error(f"cannot read '{name}': {reason}", hint="check the path and its permissions") from None
    if large or len(data) > size:
        raise error(f"'{name}' is larger than {size} bytes", hint=_TOO_LARGE)
    return data


def _head(name: str, size: int) -> bytes:
    with open(name, "rb") as file:
        return file.read(size)  # a device or a pipe says nothing of its size beforehand


# Control characters; YAML's exotic line breaks, which make our line numbers differ from an editor's; byte order marks inside
# the text; half surrogates; the marks that turn the direction of writing, with which a file shows other text than it holds.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|\r(?!\n)"
)
_TAG = re.compile(r"!(?:<[^>\s\0]*>?|[^\s,\[\]{}\0]*)")  # the scanner's buffer ends with \0
_CALL_MARKS = re.compile(r'["()]')
_COMMA = re.compile(r"(?:[ \r\n]+|#[^\n]*)*+,")
_STYLES: dict[str | None, Style] = {None: "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}

_TOO_LARGE = "a spec is a page of text: is this the right file?"
_BEGIN = "begin with `name: ...`"
_TOO_DEEP = "a spec needs three or four"
_ORDINARY = "a spec is ordinary text: delete it, or save the file as UTF-8 with ordinary line ends"
_QUOTE = "put text that contains it in double quotes, an expression below `|`"
_CUT = "YAML cuts it at the comma: name it in `let`, or write the list as `- ` lines"


def _forbidden(char: str) -> str:
    return f"the character U+{ord(char):04X} may not stand in a spec"


def _short(value: str) -> str:
    value = " ".join(value.split())
    return value if len(value) <= 40 else f"{value[:37]}..."


class _Events(Reader, Scanner, Parser):
    """PyYAML's parser without tags and directives. It remembers the last token taken, which its events have lost."""

    def __init__(self, composer: _Composer) -> None:
        self.composer = composer
        self.last: Any = None
        Reader.__init__(self, composer.text.content)
        Scanner.__init__(self)
        Parser.__init__(self)

    def __iter__(self) -> Iterator[Any]:
        while (event := self.get_event()) is not None:  # type: ignore[no-untyped-call]  # the stubs leave it open
            yield event

    def get_token(self) -> Any:
        self.last = super().get_token()  # type: ignore[no-untyped-call]
        return self.last

    def fetch_tag(self) -> None:
        """Reports a tag, whatever it is, and reads on as if it were the one that means nothing."""
        tag = _TAG.match(self.buffer, self.pointer)
        length = len(tag[0]) if tag else 1
        self.composer.report("YAML tags are not allowed", self.index, self.index + length, "a spec is plain data: remove the tag")
        self.save_possible_simple_key()
        self.allow_simple_key = False
        start = self.get_mark()
        self.forward(length)
        self.tokens.append(TagToken((None, "!"), start, self.get_mark()))

    def fetch_directive(self) -> None:
        hint = "remove the line, or indent it if it continues a value"
        self.composer.stop("a line may not begin with '%' (YAML's directives)", self.index, self.index + 1, hint)


@dataclass
class _Calls:
    """Follows the parentheses through the plain texts of one [ ] or { }, to find the calls that YAML cut at a comma."""

    open: list[int] = field(default_factory=list)
    quoted: bool = False
    cut: Problem | None = None  # to be reported where the call turns out to be closed

    def follow(self, content: Span) -> Problem | None:
        """Reads one text; the problem, if it ends a cut call."""
        inside = bool(self.open)
        self.quoted = self.quoted and inside
        for mark in _CALL_MARKS.finditer(content.text.content, content.start, content.end):
            if mark[0] == '"':
                self.quoted = not self.quoted
            elif mark[0] == "(" and not self.quoted:
                self.open.append(mark.start())
            elif self.open and not self.quoted:
                self.open.pop()
        if inside:
            return None if self.open else self.cut
        if self.open and _COMMA.match(content.text.content, content.end):
            self.cut = self._problem(content)
        else:  # not cut, at most unbalanced: the expression's parser will say so
            self.open.clear()
        return None

    def _problem(self, content: Span) -> Problem:
        start, text = self.open[-1], content.text
        while start > content.start and (text.content[start - 1].isalnum() or text.content[start - 1] in "_."):
            start -= 1
        if start == self.open[-1]:
            words, hint = "parentheses with a comma", _CUT + ", or put text in double quotes"
        else:
            words, hint = "a call with several arguments", _CUT
        return Problem(f"{words} may not stand inside [ ] or {{ }}", Span(text, start, content.end), hint)


@dataclass
class _Collection:
    """A sequence or mapping whose end is not read yet."""

    mapping: bool
    bracket: int | None  # in flow style, where its bracket stands
    start: int
    anchor: str | None
    before: int  # the number of nodes before it
    height: int = 1
    items: list[Node] = field(default_factory=list)  # of a mapping: the values
    keys: list[Scalar] = field(default_factory=list)
    names: dict[str, Scalar] = field(default_factory=dict)
    calls: _Calls = field(default_factory=_Calls)

    @property
    def flow(self) -> bool:
        return self.bracket is not None

    @property
    def key_next(self) -> bool:
        return self.mapping and len(self.keys) == len(self.items)

    def node(self, span: Span) -> Node:
        if self.mapping:
            return Mapping(span, tuple(zip(self.keys, self.items, strict=True)), self.flow)
        return Sequence(span, tuple(self.items), self.flow)


@dataclass
class _Anchor:
    start: int
    node: Node | None = None  # None until its end is read
    size: int = 1
    height: int = 0


class _Composer:
    """From events to nodes, with a stack of its own: nesting costs no recursion."""

    def __init__(self, text: Text, limits: Limits) -> None:
        self.text = text
        self.limits = limits
        self.problems: list[Problem] = []
        self.stack: list[_Collection] = []
        self.anchors: dict[str, _Anchor] = {}
        self.aliases = self.nodes = self.documents = 0
        self.end = 0  # of what was read last: a block collection ends with its last entry, not at the next token
        self.root: Node | None = None

    def run(self) -> Mapping:
        events = _Events(self)
        try:
            for event in events:
                self._take(event, events.last)
        except SpecError:
            raise  # it is a ValueError, too
        except yaml.MarkedYAMLError as bad:
            self._stop_at_syntax(bad)
        except (ValueError, OverflowError):  # "\U99999999": PyYAML hands any number to chr()
            self.stop("this escape stands for no character", events.index - 1, events.index + 1, "remove it")
        if isinstance(self.root, Mapping) and not self.problems:
            return self.root
        if self.root is None or not self.root.span.content:
            self.report("the file is empty", 0, 0, _BEGIN)
        elif not isinstance(self.root, Mapping):
            self.report("a spec is a mapping: lines of `key: value`", self.root.span.start, self.root.span.start + 1, _BEGIN)
        raise SpecError(self.problems)

    def report(self, message: str, start: int, end: int, hint: str) -> None:
        self._add(Problem(message, Span(self.text, start, end), hint))

    def stop(self, message: str, start: int, end: int, hint: str) -> NoReturn:
        """Reports a problem after which reading on makes no sense, or would cost too much."""
        raise SpecError([*self.problems, Problem(message, Span(self.text, start, end), hint)])

    def _add(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= self.limits.problems:
            raise SpecError(self.problems)

    # Events

    def _take(self, event: Any, last: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self.stop("a second document begins here", start, end, "one file holds one spec: remove the `---`")
            case yaml.AliasEvent():
                self._alias(str(event.anchor), Span(self.text, start, end))
            case yaml.ScalarEvent():
                self._scalar(event, last)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._open(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close(end)

    def _scalar(self, event: Any, last: Any) -> None:
        style = _STYLES[event.style]
        empty = style == "plain" and not event.value
        # With an anchor the event begins at the anchor, so that the token is what counts; an empty scalar has none.
        start, end = (event.end_mark if empty else last.start_mark).index, event.end_mark.index
        content = self._content(start, end, style)
        node = Scalar(Span(self.text, start, content.end if style in ("literal", "folded") else end), content, event.value, style)
        self._count(1, start)
        if content.end - content.start > self.limits.scalar:
            self.stop(f"a text of more than {self.limits.scalar} characters", start, start + 1, _TOO_LARGE)
        if style == "double" and (bad := _FORBIDDEN.search(event.value)):
            self.report(f"{_forbidden(bad[0])}, not as an escape either", start, end, "remove the escape")
        if event.anchor:
            self._anchor(event.anchor, event.start_mark.index)
            self.anchors[event.anchor].node = node
        top = self.stack[-1] if self.stack else None
        if top and empty and top.mapping and not top.key_next and not isinstance(last, ValueToken | AnchorToken | TagToken):
            self._missing_colon(top)
        piece = bool(top and top.calls.open)
        if top and top.flow and style == "plain" and (cut := top.calls.follow(content)):
            self._add(cut)
        self._deliver(node, node.span, piece=piece or bool(top and top.calls.open))

    def _content(self, start: int, end: int, style: Style) -> Span:
        if style == "plain":
            return Span(self.text, start, end)
        if style in ("single", "double"):
            return Span(self.text, start + 1, end - 1)
        header = self.text.content.find("\n", start, end) + 1 or end
        block = self.text.content[header:end]
        blank = len(block) - len(block.lstrip(" \t\r\n"))
        first = block.rfind("\n", 0, blank) + 1
        return Span(self.text, header + first, header + max(first, len(block.rstrip(" \t\r\n"))))

    def _missing_colon(self, top: _Collection) -> None:
        key = top.keys[-1]
        if key.value in top.names:  # otherwise it is no key but a piece of a cut call
            hint = "write `key: value`, with a space after the colon; put text that contains a comma in double quotes"
            self.report("a ':' is missing after this key", key.span.start, key.span.end, hint)

    def _open(self, event: Any) -> None:
        # An event ends behind the bracket, or before the first entry. It begins there, too, unless there is an anchor.
        start, end = event.start_mark.index, event.end_mark.index
        mapping, bracket = isinstance(event, yaml.MappingStartEvent), end - 1 if event.flow_style else None
        if bracket is not None and mapping and (start == end or self.text.content[bracket] == "?"):
            # YAML takes `a: b` inside [ ] for a mapping without braces: its event ends before the key, or behind a '?'.
            bracket = self.stack[-1].bracket
            if not self.stack[-1].calls.open:
                self.report("a key inside [ ] needs its own { }", start, start + 1, "write `{key: value}`")
        else:
            start = end if bracket is None else bracket
            if not mapping and bracket is None and not self.text.content.startswith("-", end):
                start -= 1  # a list no further indented than its key: the event ends behind the first dash
        if len(self.stack) >= self.limits.depth:
            self.stop(f"more than {self.limits.depth} lists and mappings within each other", start, start + 1, _TOO_DEEP)
        self._count(1, start)
        if event.anchor:
            self._anchor(event.anchor, event.start_mark.index)
        self.stack.append(_Collection(mapping, bracket, start, event.anchor, self.nodes - 1))

    def _close(self, end: int) -> None:
        done = self.stack.pop()
        span = Span(self.text, done.start, end if done.flow else self.end)
        node = done.node(span)
        if done.calls.open:
            place = done.calls.open[-1]
            self.report("this '(' is not closed before the end of the [ ] or { }", place, place + 1, "add the ')'")
        if done.anchor:
            anchor = self.anchors[done.anchor]
            anchor.node, anchor.size, anchor.height = node, self.nodes - done.before, done.height
        self._deliver(node, span, done.height)

    def _alias(self, name: str, span: Span) -> None:
        self.aliases += 1
        if self.aliases > self.limits.aliases:
            self.stop(f"more than {self.limits.aliases} aliases", span.start, span.end, "name what repeats in `let`")
        anchor = self.anchors.get(name) or _Anchor(0)
        if name not in self.anchors:
            hint = suggest(name, self.anchors, "YAML reads '*' as an alias: write an expression that begins with it below `|`")
            self.report(f"unknown alias '*{_short(name)}'", span.start, span.end, hint or "")
        elif anchor.node is None:
            self.report(f"the alias '*{_short(name)}' stands inside what it names", span.start, span.end, "remove it")
        elif len(self.stack) + anchor.height > self.limits.depth:
            self.stop(f"with this alias, more than {self.limits.depth} lists and mappings within each other",
                      span.start, span.end, _TOO_DEEP)
        self._count(anchor.size, span.start)
        self._deliver(anchor.node or Scalar(span, span, "", "plain"), span, anchor.height, alias=True)

    def _anchor(self, name: str, start: int) -> None:
        if first := self.anchors.get(name):
            line = self.text.place(first.start)[0]
            message = f"the anchor '&{_short(name)}' is already in line {line}"
            self.report(message, start, start + 1 + len(name), "give them different names")
        self.anchors[name] = _Anchor(start)

    def _count(self, nodes: int, start: int) -> None:
        self.nodes += nodes
        if self.nodes > self.limits.nodes:
            message = f"more than {self.limits.nodes} keys, values and lists, each alias counted in full"
            self.stop(message, start, start + 1, _TOO_LARGE)

    # Collections

    def _deliver(self, node: Node, span: Span, height: int = 0, alias: bool = False, piece: bool = False) -> None:
        """Hands a finished node to the collection it stands in. ``span``: where it stands, which for an alias is not its own."""
        self.end = span.end
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.height = max(top.height, height + 1)
        if not top.key_next:
            top.items.append(node)
        elif isinstance(node, Scalar) and node.style not in ("literal", "folded") and not alias:
            top.keys.append(node)
            if not piece:
                self._check_key(top, node)
        else:
            self.report("a key must be a word", span.start, span.start + 1, "write `key: value`")
            top.keys.append(Scalar(span, span, "", "plain"))

    def _check_key(self, top: _Collection, key: Scalar) -> None:
        start, end = key.span.start, key.span.end
        if not key.value:
            self.report("a key is missing before this ':'", start, max(end, start + 1), "write `key: value`")
        elif key.value == "<<" and key.style == "plain":
            self.report("YAML merges ('<<') are not allowed", start, end, "write the keys out, or name what repeats in `let`")
        elif first := top.names.get(key.value):
            line = self.text.place(first.span.start)[0]
            self.report(f"the key '{_short(key.value)}' is already in line {line}", start, end, "keep one of the two")
        top.names.setdefault(key.value, key)

    # Syntax

    def _stop_at_syntax(self, bad: yaml.MarkedYAMLError) -> NoReturn:
        """PyYAML's error in our words."""
        content = self.text.content
        place = bad.problem_mark.index if bad.problem_mark else 0
        for collection in self.stack:
            if collection.calls.open and collection.calls.cut:  # `[f(x, [1, 2])]`: what follows is due to the cut
                raise SpecError([*self.problems, collection.calls.cut])
        start = self.stack[-1].bracket if self.stack else None
        if start is not None and self._unclosed(start, place):
            self.problems = [problem for problem in self.problems if problem.span and problem.span.start < start]
            self.stop(f"this '{content[start]}' is never closed", start, start + 1, "close it, after its last entry")
        said = f"{bad.context}: {bad.problem}"
        before = content[content.rfind("\n", 0, place) + 1 : place + 1][-200:]
        message, hint = next(row[2:] for row in _SYNTAX if re.search(row[0], said) and re.search(row[1], before))
        if bad.context_mark and _BEGINNING.search(said):
            place = bad.context_mark.index
        char = content[place : place + 1]
        self.stop(message.replace("{char}", char), place, place + len(char), hint.replace("{char}", char))

    def _unclosed(self, start: int, place: int) -> bool:
        """Whether an error is due to a bracket left open: the text ended, or the next line is indented no more than its line."""
        first, line = self.text.place(start)[0], self.text.place(place)[0]
        return place >= len(self.text.content) or (line > first and self._indent(line) <= self._indent(first))

    def _indent(self, line: int) -> int:
        content = self.text.line(line)
        return len(content) - len(content.lstrip(" "))


# Where PyYAML's place is the end of what is wrong, and its context the beginning.
_BEGINNING = re.compile(r"expected ':'|scanning an (alias|anchor)|scanning a block scalar|unexpected (end|document)")

# What PyYAML says, and the line up to the place and with it -> what we say, and the hint. The first that matches counts.
_SYNTAX = (
    (r"found character '\\t'", "", "a tab may not stand here", "YAML indents and separates with spaces only"),
    (r"cannot start any token", "", "text may not begin with '{char}'", _QUOTE),
    (r"could not find expected ':'", "", "a ':' is missing after this key",
     "write `key: value`, with a space after the colon; indent the line further if it continues the one above"),
    (r"mapping values are not allowed", r":\s.*:$", "a second ': ' in one value",
     "put text that contains ': ' in double quotes, a key on a line of its own"),
    (r"mapping values are not allowed", "", "this line continues the value above, and may have no ': '",
     "indent a new key like the keys above it; the line above may lack its ':'"),
    (r"sequence entries are not allowed", "", "a `- ` entry may not begin here",
     "write the `- ` lines below the key, or the list inside [ ]"),
    (r"mapping keys are not allowed", "", "a '? ' may not stand here", _QUOTE),
    (r"scanning an (alias|anchor)", "", "'{char}' begins no value", "YAML reads it as an alias or anchor: " + _QUOTE),
    (r"scanning a block scalar", "", "'{char}' may not stand here: with it YAML begins a block of text",
     "write the whole expression or text on the lines below a `|`, indented"),
    (r"unexpected (end of stream|document)", "", "this quote is never closed", "add the closing quote at the end of the text"),
    (r"escape", "", "an unknown escape in double quotes", r"write \\ for a backslash, or use single quotes"),
    (r"parsing a flow", r"[\w)\]][\[{]$", "'{char}' may not follow text inside [ ] or { }",
     "YAML reads a list of its own there: name the expression in `let`, or write the list as `- ` lines"),
    (r"parsing a flow", r"[\[{,]\s*:$", "a key is missing before this ':'", "write `key: value`"),
    (r"parsing a flow", r"[?:]$", "'{char}' may not stand here inside [ ] or { }", "put text that contains it in double quotes"),
    (r"parsing a flow", r"[]}]$", "'{char}' does not match the bracket before it", "close each bracket with its own kind"),
    (r"parsing a flow", r",$", "nothing stands before this ','", "remove one comma, or put the missing entry"),
    (r"parsing a flow.* '-'$", "", "a `- ` entry may not stand inside [ ] or { }", "separate entries with commas"),
    (r"parsing a flow", "", "a ',' is missing before this", "a comma separates entries; a quote or bracket ends one"),
    (r"block|document start", r"[],}]$", "unexpected '{char}'", "it separates or closes nothing here: " + _QUOTE),
    (r"found '<block \w+ start>'", "", "this line's indentation fits no line above",
     "the entries of a mapping or list begin in the same column"),
    (r"found ':'", "", "a key is missing before this ':'", "write `key: value`"),
    (r"found '-'", "", "a `- ` line may not stand among keys", "a mapping has lines of `key: value`, a list `- ` lines"),
    (r"found '\?'", "", "a key may not stand among `- ` lines", "a mapping has lines of `key: value`, a list `- ` lines"),
    (r"block end|document start", "", "the value before this has ended",
     "a quote, bracket or comment ended it, or the indentation: write a longer expression below `|`"),
    (r"", "", "this is not YAML", "write `key: value` lines, lists inside [ ] or as `- ` lines"),
)
