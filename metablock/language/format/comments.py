"""Finds the comments and blank lines of a file and attaches each to the part it belongs to.

A trailing comment belongs to the entry that ends there. A comment on a line of its own belongs to the entry below, or, if that is
indented less than the comment, to the end of the entries above. The same holds for the lines of an expression below a `|`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...errors import Span, SpecError, Text
from .. import ast as e
from ..parser import parse_target, parse_value
from ..printer import show
from ..yaml import Mapping as MappingNode
from ..yaml import Node, Scalar
from ..yaml import Sequence as SequenceNode
from .lines import GROUPS
from .parts import Entry, Items, Map, Notes, Part, Rows, Statement, TextPart

_MARK = re.compile(r"#(?![\s!:#]|$)")  # `#text` becomes `# text`
_IN_EXPRESSION = re.compile(r'"[^"\n]*"|(#[^\n]*)')
_TOKENS = re.compile(r'"[^"]*"|\w+|[^\s\w]')


@dataclass(frozen=True)
class Comment:
    """A comment, or a blank line (then ``text`` is empty)."""

    text: str
    start: int  # the offset in the file
    column: int  # from 0
    alone: bool  # whether it has a line of its own


@dataclass
class _Unit:
    """What a comment can belong to: an entry, a row, a line of an expression."""

    notes: Notes
    start: int
    column: int
    parent: _Unit | None = None
    flow: int | None = None  # for a unit inside [ ] or { }: the offset of their end
    inner: tuple[TextPart, int] | None = None  # for a line of an expression: the expression, and the line's number
    end: int = 0


def comments_of(root: MappingNode) -> list[Comment]:
    """The comments and blank lines of a file, in order.

    >>> from metablock.language.yaml import read
    >>> [comment.text for comment in comments_of(read(Text("net.yaml", "# mine\\nname: net #1\\n")))]
    ['# mine', '# 1']
    """
    text = root.span.text
    content = list(text.content)
    for scalar in _scalars(root):
        if scalar.style in ("literal", "folded"):
            for match in _IN_EXPRESSION.finditer(text.content, scalar.content.start, scalar.content.end):
                if match[1] is None:
                    content[match.start() : match.end()] = "x" * len(match[0])
        else:
            content[scalar.span.start : scalar.span.end] = ["x"] * (scalar.span.end - scalar.span.start)
    result, offset = [], 0
    for line in "".join(content).split("\n"):
        mark = line.find("#")
        if mark >= 0:
            words = text.content[offset + mark : offset + len(line)].rstrip()
            result.append(Comment(_MARK.sub("# ", words, count=1), offset + mark, mark, not line[:mark].strip()))
        elif not line.strip():
            result.append(Comment("", offset, 0, True))
        offset += len(line) + 1
    return [comment for i, comment in enumerate(result) if comment.text or i + 1 < len(result)]


def _scalars(node: Node) -> Iterator[Scalar]:
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, Scalar):
            yield node
        elif isinstance(node, SequenceNode):
            stack += node.items
        else:
            for key, value in node.entries:
                stack += (key, value)


def attach(comments: Sequence[Comment], sections: Mapping[str, Entry], root: MappingNode) -> None:
    """Attaches the comments of a file to its parts: fills in their ``notes``."""
    entries = _matched(list(sections.values()), root)
    units = sorted(_units(entries, None, None), key=lambda unit: unit.start)
    _Attaching(units, root.span.text).run(comments)
    _hoist(sections.values())
    _keep_at_the_top(sections, [entry for entry, _, _ in entries])


def _keep_at_the_top(sections: Mapping[str, Entry], written: Sequence[Entry]) -> None:
    """What stands above the first section of the file stays at its top, whichever section comes first there.

    A blank line then separates it from that section, unless only the revision comes between them, which the file did not state.
    """
    order = [sections[name] for group in GROUPS for name in group if name in sections]
    first, top = written[0], order[0]
    if top is first or not any(first.notes.above):
        return
    stated = any(entry is top for entry in written)
    top.notes.above[:0] = [*first.notes.above, *([] if first is order[1] and not stated else [""])]
    first.notes.above.clear()


# Units: the parts of a text with their places


_Placed = tuple[Entry, Span, Node]


def _units(entries: Sequence[_Placed], parent: _Unit | None, flow: int | None) -> Iterator[_Unit]:
    for entry, span, node in entries:
        unit = _unit(entry.notes, span.text, span.start, parent, flow)
        yield unit
        yield from _inside(entry.value, node, unit, flow)


def _unit(notes: Notes, text: Text, start: int, parent: _Unit | None, flow: int | None = None) -> _Unit:
    line, column = text.place(start)
    lead = re.match(r"[ -]*", text.line(line))
    if lead and lead.end() >= column - 1 and "-" in lead[0] and parent and text.place(parent.start)[0] != line:
        start, column = start - (column - 1 - lead[0].index("-")), lead[0].index("-") + 1  # the dash of a list's item
    return _Unit(notes, start, column - 1, parent, flow)


def _inside(part: Part, node: Node, unit: _Unit, flow: int | None) -> Iterator[_Unit]:
    if not isinstance(node, Scalar) and node.flow:
        flow = node.span.end
    if isinstance(part, Map) and isinstance(node, MappingNode):
        yield from _units(_matched(part.entries, node), unit, flow)
    elif isinstance(part, Items) and isinstance(node, SequenceNode) and len(part.entries) == len(node.items):
        placed = [(entry, item.span, item) for entry, item in zip(part.entries, node.items, strict=True)]
        yield from _units(placed, unit, flow)
    elif isinstance(part, Rows) and isinstance(node, SequenceNode):
        for notes, item in zip(part.notes, node.items, strict=True):
            yield _unit(notes, node.span.text, item.span.start, unit, flow)
    elif (
        isinstance(part, TextPart) and isinstance(node, Scalar) and node.style in ("literal", "folded") and part.node is not None
    ):
        starts = _starts(node)
        if len(starts) == len(part.statements):
            for number, (statement, start) in enumerate(zip(part.statements, starts, strict=True)):
                line = _unit(statement.notes, node.span.text, start, unit)
                line.inner = (part, number)
                line.end = (starts[number + 1 :] or [node.content.end])[0]
                yield line


def _matched(entries: Sequence[Entry], node: MappingNode) -> list[_Placed]:
    """The entries with the places of their keys, in the file's order. A key's spelling may differ from the canonical one."""
    known = {entry.key.text: entry for entry in entries}
    placed: list[_Placed] = []
    for key, value in node.entries:
        entry = known.get(key.value)
        if entry is None:
            try:
                entry = known.get(show(parse_target(key.content)))
            except SpecError:
                continue
        if entry is not None:
            placed.append((entry, key.span, value))
    return placed


def _starts(node: Scalar) -> list[int]:
    """The offsets at which the lines of an expression begin."""
    value = parse_value(node.content)
    starts = [] if value.span is None else [value.span.start]
    block = value.body if isinstance(value, e.Function) else value
    if not isinstance(block, e.StreamBody):
        return starts
    if value is block:
        starts = []
    starts += [line.span.start for line in block.lines if line.span]
    content = _masked(node.content)
    after = block.lines[-1].span.end if block.lines and block.lines[-1].span else node.content.start
    returned = re.compile(r"\breturn\b").search(content, after - node.content.start)
    return [*starts, node.content.start + returned.start()] if returned else starts


def _masked(span: Span) -> str:
    """The text with blanks in place of its comments."""
    return _IN_EXPRESSION.sub(lambda match: " " * len(match[0]) if match[1] else match[0], span.content)


# Comments to units


class _Attaching:
    def __init__(self, units: list[_Unit], text: Text) -> None:
        self.units = units
        self.text = text
        self.seen: set[int] = set()
        self.starting = [unit for unit in units if self._begins_line(unit)]
        self.blank = False  # above what comes next

    def _begins_line(self, unit: _Unit) -> bool:
        line, column = self.text.place(unit.start)
        first = line not in self.seen and not self.text.line(line)[: column - 1].strip(" \t-")
        self.seen.add(line)
        return first

    def run(self, comments: Sequence[Comment]) -> None:
        """Attaches blank lines and comments, in the order of the file, to the units that begin lines."""
        pieces: dict[int, list[Comment]] = {}
        events: list[Comment | _Unit] = [*comments, *self.starting]
        for event in sorted(events, key=lambda event: event.start):
            if isinstance(event, _Unit):
                if self.blank:
                    event.notes.above.append("")
                self.blank = False
            elif not event.text:
                self.blank = True
            else:
                unit, place = self._owner(event)
                if unit.inner and place == "behind":
                    pieces.setdefault(self.units.index(unit), []).append(event)
                elif place == "behind" and not unit.notes.behind:
                    unit.notes.behind = event.text
                else:
                    texts = unit.notes.below if place == "below" else unit.notes.above
                    texts += ["", event.text] if self.blank else [event.text]
                self.blank = False
        for number, behind in pieces.items():
            self._split(self.units[number], behind)

    def _owner(self, comment: Comment) -> tuple[_Unit, str]:
        before = [unit for unit in self.units if unit.start < comment.start]
        if not comment.alone:
            return self._ended(before[-1], comment.start), "behind"
        inner = before[-1] if before else None
        if inner and inner.inner and comment.start < inner.end:
            following = next((unit for unit in self.units if unit.start > comment.start), None)
            if following and following.inner and following.inner[0] is inner.inner[0] and following.parent is inner.parent:
                rest = _masked(Span(self.text, comment.start, following.start))
                return (following, "above") if not rest.strip() else (inner, "behind")
            rest = _masked(Span(self.text, comment.start, inner.end))
            return (inner, "below") if not rest.strip() else (inner, "behind")
        after = next((unit for unit in self.units if unit.start > comment.start), None)
        inside = inner and self._ended(inner, comment.start)
        if inside and inside.flow is not None and inside.flow > comment.start:
            return (after, "above") if after and after.flow == inside.flow else (inside, "below")
        if inner and inside is inner.parent and inner.flow is not None and inside and inside.flow is None:
            inner = inside
        following = next((unit for unit in self.starting if unit.start > comment.start), None)
        if following and comment.column <= following.column:
            return following, "above"
        last = next((unit for unit in reversed(self.starting) if unit.start < comment.start), following)
        assert last
        if last.inner:  # below the expression, not in it
            last = last.parent or last
        while last.parent and last.column > comment.column:
            last = last.parent
        return (following, "above") if following and last.column <= following.column else (last, "below")

    @staticmethod
    def _ended(unit: _Unit, at: int) -> _Unit:
        """The unit, or the one around it whose brackets are still open at this place."""
        while unit.flow is not None and unit.flow <= at and unit.parent:
            unit = unit.parent
        return unit

    def _split(self, unit: _Unit, behind: Sequence[Comment]) -> None:
        """Cuts the line of an expression into pieces at the comments inside it."""
        assert unit.inner
        word, number = unit.inner
        statement = word.statements[number]
        code = statement.pieces[0][0]
        source = _masked(Span(self.text, unit.start, unit.end))
        ours, theirs = list(_TOKENS.finditer(code)), [match[0] for match in _TOKENS.finditer(source)]
        cuts: dict[int, list[str]] = {}
        for comment in behind:
            read = len(_TOKENS.findall(source[: comment.start - unit.start]))
            cuts.setdefault(read, []).append(comment.text)
        if [token[0] for token in ours] != theirs:  # parentheses or a comma are gone
            inside = [text for read, texts in cuts.items() if read < len(theirs) for text in texts]
            statement.notes.above += inside
            cuts = {len(ours): texts for read, texts in cuts.items() if read == len(theirs)}
        pieces, start = [], 0
        for read, (text, *more) in sorted(cuts.items()):
            end = ours[read - 1].end()
            pieces.append((code[start:end].strip(), text))
            statement.notes.above += more
            start = end
        rest = code[start:].strip()
        statement.pieces = [*pieces, (rest, "")] if rest else pieces


def _hoist(entries: Iterable[Entry]) -> None:
    """Moves the comments of single-line expressions to their entries."""
    stack = list(entries)
    while stack:
        entry = stack.pop()
        if isinstance(entry.value, Map | Items):
            stack += entry.value.entries
        elif isinstance(entry.value, TextPart) and len(entry.value.statements) == 1 and entry.value.statements[0].whole:
            statement: Statement = entry.value.statements[0]
            code, comment = statement.pieces[0]
            notes = [*statement.notes.above, *([comment] if comment and entry.notes.behind else [])]
            entry.notes.above += [text for text in notes if text]
            entry.notes.behind = entry.notes.behind or comment
            entry.notes.below[:0] = statement.notes.below
            statement.pieces, statement.notes = [(code, "")], Notes()
