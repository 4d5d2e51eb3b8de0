"""Composes YAML's events into nodes, under caps, and collects the problems."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn

import yaml
from yaml.tokens import AnchorToken, TagToken, ValueToken

from ...errors import Problem, Span, SpecError, Text, suggest
from .calls import Calls
from .characters import FORBIDDEN, forbidden
from .events import Events
from .nodes import Limits, Mapping, Node, Scalar, Sequence, Style
from .syntax import translate

TOO_LARGE = "a spec is a page of text: is this the right file?"
_TOO_DEEP = "a spec needs three or four"
_BEGIN = "begin with `name: ...`"
_LAST_COMMA = re.compile(r" *(,) *\]")
_STYLES: dict[str | None, Style] = {None: "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}


def _short(value: str) -> str:
    value = " ".join(value.split())
    return value if len(value) <= 40 else f"{value[:37]}..."


@dataclass
class _Collection:
    """A sequence or mapping whose end is not read yet."""

    mapping: bool
    bracket: int | None  # the offset of its bracket, in flow style
    start: int
    anchor: str | None
    before: int  # the number of nodes before it
    letters: int  # the number of characters before it
    height: int = 1
    items: list[Node] = field(default_factory=list)  # of a mapping: the values
    keys: list[Scalar] = field(default_factory=list)
    names: dict[str, Scalar] = field(default_factory=dict)
    calls: Calls = field(default_factory=Calls)
    first: tuple[int, int, int] = (0, 0, 0)  # of a call that YAML cuts: the keys and items before it, and where it begins
    ended: bool = False  # whether a key was the last piece of such a call: what YAML reads as its value is none

    @property
    def flow(self) -> bool:
        return self.bracket is not None

    @property
    def key_next(self) -> bool:
        return self.mapping and len(self.keys) == len(self.items)

    @property
    def place(self) -> str:
        """Where the next node stands: as an `item`, a `key` or a `value`."""
        return "key" if self.key_next else "value" if self.mapping else "item"

    def node(self, span: Span, last: int) -> Node:
        """The finished node. ``last`` is the offset where its last entry ends."""
        if self.mapping:
            return Mapping(span, tuple(zip(self.keys, self.items, strict=True)), self.flow)
        comma = _LAST_COMMA.match(span.text.content, last) if self.flow else None
        return Sequence(span, tuple(self.items), self.flow, Span(span.text, comma.start(1), comma.end(1)) if comma else None)


@dataclass
class _Anchor:
    start: int
    node: Node | None = None  # None until its end is read
    size: int = 1
    height: int = 0
    letters: int = 0


class YamlSyntaxError(SpecError):
    """YAML cannot be read on behind a place: ``stop`` is the problem there; the others were met before."""

    def __init__(self, before: Iterable[Problem], stop: Problem):
        super().__init__([*before, stop])
        self.stop = stop

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Problem, ...]]]:
        return SpecError, (self.problems,)


class Composer:
    """Composes events into nodes, with a stack of its own instead of recursion."""

    def __init__(self, text: Text, limits: Limits, content: str | None = None) -> None:
        self.text = text  # what places point into
        self.content = text.content if content is None else content  # what is read, of the same length
        self.limits = limits
        self.problems: list[Problem] = []
        self.unread: list[Span] = []
        self.stack: list[_Collection] = []
        self.anchors: dict[str, _Anchor] = {}
        self.aliases = self.nodes = self.letters = self.documents = 0
        self.end = 0  # end of the last node: a block collection ends with its last entry, not at the next token
        self.root: Node | None = None

    def run(self) -> tuple[Mapping, tuple[Problem, ...], tuple[Span, ...]]:
        """The mapping, what is wrong with it, and the places of scalars that mean nothing.

        Raises:
            YamlSyntaxError: YAML cannot be read on behind a place.
            SpecError: there is no mapping, or one that is too large.
        """
        events = Events(Text(self.text.name, self.content), self.report, self.stop)
        try:
            for event in events:
                self._take(event, events.last)
        except SpecError:
            raise  # SpecError is a ValueError
        except yaml.MarkedYAMLError as bad:
            self._stop_at_syntax(bad)
        except (ValueError, OverflowError):  # "\U99999999": PyYAML hands any number to chr()
            self.stop("this escape stands for no character", events.index - 1, events.index + 1, "remove it")
        if isinstance(self.root, Mapping):
            return self.root, tuple(self.problems), tuple(self.unread)
        if self.root is None or not self.root.span.content:
            self.report("the file is empty", 0, 0, _BEGIN)
        elif not isinstance(self.root, Mapping):
            self.report("a spec is a mapping: lines of `key: value`", self.root.span.start, self.root.span.start + 1, _BEGIN)
        raise SpecError(self.problems)

    def report(self, message: str, start: int, end: int, hint: str) -> None:
        self._add(Problem(message, Span(self.text, start, end), hint))

    def stop(self, message: str, start: int, end: int, hint: str) -> NoReturn:
        """Reports a problem after which reading on is pointless or too expensive."""
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
        # An event with an anchor begins at the anchor, so the token's place counts; an empty scalar has no token.
        start, end = (event.end_mark if empty else last.start_mark).index, event.end_mark.index
        content = self._content(start, end, style)
        node = Scalar(Span(self.text, start, content.end if style in ("literal", "folded") else end), content, event.value, style)
        self._count(1, start, content.end - content.start)
        if style == "double" and (bad := FORBIDDEN.search(event.value)):
            self.report(f"{forbidden(bad[0])}, not as an escape either", start, end, "remove the escape")
        if event.anchor:
            self._anchor(event.anchor, event.start_mark.index)
            self.anchors[event.anchor].node, self.anchors[event.anchor].letters = node, content.end - content.start
        top = self.stack[-1] if self.stack else None
        if top and top.ended and empty:  # the value of a key that was the last piece of a call
            top.ended = False
            return
        if top and empty and top.mapping and not top.key_next and not isinstance(last, ValueToken | AnchorToken | TagToken):
            self._missing_colon(top)
        piece = bool(top and top.calls.open)
        if top and top.flow and style == "plain":
            cut = top.calls.follow(content, top.place)
            if top.calls.open and not piece:
                top.first = (len(top.keys), len(top.items), start)
            if cut is not None:
                self._add(cut)
                self._mend(top, cut, end)
                return
        self._deliver(node, node.span, piece=piece or bool(top and top.calls.open))

    def _mend(self, top: _Collection, cut: Problem, end: int) -> None:
        """Puts the pieces of a call that YAML cut at its commas together again."""
        keys, items, start = top.first
        was_key, is_key = top.mapping and keys == items, top.key_next
        del top.keys[keys:], top.items[items:]
        span = Span(self.text, start, end)
        self._deliver(Scalar(span, span, span.content, "plain"), span)
        if (was_key and not is_key) or "{" in span.content:  # `{f(a: b, c)}`, `[f(a, {b: c})]`: nobody knows what was meant
            self.unread.append(span)
            return
        top.ended = is_key and not was_key

    def _content(self, start: int, end: int, style: Style) -> Span:
        if style == "plain":
            return Span(self.text, start, end)
        if style in ("single", "double"):
            return Span(self.text, start + 1, end - 1)
        header = self.text.content.find("\n", start, end) + 1 or end
        block = self.content[header:end]
        blank = len(block) - len(block.lstrip(" \t\r\n"))
        first = block.rfind("\n", 0, blank) + 1
        return Span(self.text, header + first, header + max(first, len(block.rstrip(" \t\r\n"))))

    def _missing_colon(self, top: _Collection) -> None:
        key = top.keys[-1]
        if key.value in top.names:  # otherwise it is a piece of a cut call
            hint = "write `key: value`, with a space after the colon; put text that contains a comma in double quotes"
            self.report("a ':' is missing after this key", key.span.start, key.span.end, hint)

    def _open(self, event: Any) -> None:
        # An event ends behind the bracket, or before the first entry. It begins there too, unless it has an anchor.
        start, end = event.start_mark.index, event.end_mark.index
        mapping, bracket = isinstance(event, yaml.MappingStartEvent), end - 1 if event.flow_style else None
        if bracket is not None and mapping and (start == end or self.text.content[bracket] == "?"):
            # YAML reads `a: b` inside [ ] as a mapping without braces: its event ends before the key, or behind a '?'.
            bracket = self.stack[-1].bracket
            if not self.stack[-1].calls.open:
                self.report("a key inside [ ] needs its own { }", start, start + 1, "write `{key: value}`")
        else:
            start = end if bracket is None else bracket
            if not mapping and bracket is None and not self.text.content.startswith("-", end):
                start -= 1  # a list that is indented like its key: the event ends behind the first dash
        if len(self.stack) >= self.limits.depth:
            self.stop(f"more than {self.limits.depth} lists and mappings within each other", start, start + 1, _TOO_DEEP)
        self._count(1, start)
        if event.anchor:
            self._anchor(event.anchor, event.start_mark.index)
        self.stack.append(_Collection(mapping, bracket, start, event.anchor, self.nodes - 1, self.letters))

    def _close(self, end: int) -> None:
        done = self.stack.pop()
        span = Span(self.text, done.start, end if done.flow else self.end)
        node = done.node(span, self.end)
        if done.calls.open:
            place = done.calls.open[-1]
            self.report("this '(' is not closed before the end of the [ ] or { }", place, place + 1, "add the ')'")
        if done.anchor:
            anchor = self.anchors[done.anchor]
            anchor.node, anchor.size, anchor.height = node, self.nodes - done.before, done.height
            anchor.letters = self.letters - done.letters
        self._deliver(node, span, done.height)

    def _alias(self, name: str, span: Span) -> None:
        self.aliases += 1
        if self.aliases > self.limits.aliases:
            self.stop(f"more than {self.limits.aliases} aliases", span.start, span.end, "name what repeats in `let`")
        anchor = self.anchors.get(name) or _Anchor(0)
        if name not in self.anchors:
            known = [anchor for anchor in islice(self.anchors, 100) if len(anchor) <= 40]  # comparing words is slow
            hint = suggest(name[:40], known, "YAML reads '*' as an alias: write an expression that begins with it below `|`")
            self.report(f"unknown alias '*{_short(name)}'", span.start, span.end, hint or "")
        elif anchor.node is None:
            self.report(f"the alias '*{_short(name)}' stands inside what it names", span.start, span.end, "remove it")
        elif len(self.stack) + anchor.height > self.limits.depth:
            self.stop(
                f"with this alias, more than {self.limits.depth} lists and mappings within each other",
                span.start,
                span.end,
                _TOO_DEEP,
            )
        self._count(anchor.size, span.start, anchor.letters)
        self._deliver(anchor.node or Scalar(span, span, "", "plain"), span, anchor.height, alias=True)

    def _anchor(self, name: str, start: int) -> None:
        if first := self.anchors.get(name):
            line = self.text.place(first.start)[0]
            message = f"the anchor '&{_short(name)}' is already in line {line}"
            self.report(message, start, start + 1 + len(name), "give them different names")
        self.anchors[name] = _Anchor(start)

    def _count(self, nodes: int, start: int, letters: int = 0) -> None:
        self.nodes += nodes
        self.letters += letters
        if self.letters > self.limits.size:
            message = f"more than {self.limits.size} characters, each alias counted in full"
            self.stop(message, start, start + 1, TOO_LARGE)
        if self.nodes > self.limits.nodes:
            message = f"more than {self.limits.nodes} keys, values and lists, each alias counted in full"
            self.stop(message, start, start + 1, TOO_LARGE)

    # Collections

    def _deliver(self, node: Node, span: Span, height: int = 0, alias: bool = False, piece: bool = False) -> None:
        """Adds a finished node to the collection around it. ``span`` is its place; the node of an alias has another."""
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
            if not top.calls.open:
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

    def _stop_at_syntax(self, bad: yaml.MarkedYAMLError) -> NoReturn:
        for collection in self.stack:
            if collection.calls.open and collection.calls.cut:  # `[f(x, [1, 2])]`: the cut causes the syntax error
                raise YamlSyntaxError(self.problems, collection.calls.cut)
        bracket = self.stack[-1].bracket if self.stack else None
        problem, unclosed = translate(bad, self.text, bracket)
        if unclosed and bracket is not None:  # the problems behind it follow from it
            self.problems = [problem for problem in self.problems if problem.span and problem.span.start < bracket]
        raise YamlSyntaxError(self.problems, problem)
