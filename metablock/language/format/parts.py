"""The text's parts, between a spec and its lines: what is written, where quotes and brackets may stand, and its comments.

A map may stand in one line, `{a: b}`, only where the files write it so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .. import ast as e
from ..printer import show
from ..spec import EXPRESSIONS, Edit, EditSet, Spec, Table, WeightTable


@dataclass
class Notes:
    """The comments of an entry: above it (a blank line is ``""``), behind its first line, and below it."""

    above: list[str] = field(default_factory=list)
    behind: str = ""
    below: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(self.above) or bool(self.behind) or any(self.below)


@dataclass
class Statement:
    """A line of an expression, in pieces: behind each but the last stands a comment, and a line break that it needs."""

    pieces: list[tuple[str, str]]  # code, the comment behind it
    notes: Notes = field(default_factory=Notes)

    @property
    def whole(self) -> bool:
        return len(self.pieces) == 1


@dataclass
class Word:
    """A word, or an expression (which may have lines, and never has escapes)."""

    text: str
    expression: bool = False
    quoted: bool = False  # even where YAML does not ask for it
    node: e.Node | None = None  # what the expression says
    statements: list[Statement] = field(init=False)

    def __post_init__(self) -> None:
        self.statements = [Statement([(line, "")]) for line in self.text.split("\n")]

    @property
    def noted(self) -> bool:
        return any(statement.notes or not statement.whole for statement in self.statements)


@dataclass
class Entry:
    """A key and its value, or an item of a list (whose key is empty)."""

    key: Word
    value: Part
    notes: Notes = field(default_factory=Notes)

    @property
    def noted(self) -> bool:
        """Whether a comment stands at the entry or inside it: then it needs lines of its own."""
        return bool(self.notes) or noted(self.value)


@dataclass
class Items:
    entries: list[Entry]


@dataclass
class Map:
    entries: list[Entry]
    flow: bool = True
    aligned: bool = False


@dataclass
class Rows:
    """A table: its cells stand below each other."""

    rows: list[list[Word]]
    notes: list[Notes] = field(init=False)

    def __post_init__(self) -> None:
        self.notes = [Notes() for _ in self.rows]


Part: TypeAlias = "Word | Items | Map | Rows"


def noted(part: Part) -> bool:
    """Whether a comment stands inside a part."""
    if isinstance(part, Word):
        return part.noted
    return any(part.notes) if isinstance(part, Rows) else any(entry.noted for entry in part.entries)


def sections_of(spec: Spec) -> dict[str, Entry]:
    """A spec as the entries of its file, by section."""
    return {name: Entry(Word(name), part) for name, part in _sections(spec)}


def _sections(spec: Spec) -> Iterator[tuple[str, Part]]:
    yield "metablock", Word(str(spec.revision))
    yield "name", Word(spec.name)
    if spec.paper:
        yield "paper", Map([Entry(Word(key), _paper(value)) for key, value in spec.paper.items()])
    if spec.inputs:
        only = spec.inputs.get("input") if len(spec.inputs) == 1 else None
        yield "input", _value(only) if only is not None else _expressions(spec.inputs, flow=False)
    for name in EXPRESSIONS:
        if name in spec.sections:
            yield name, _value(spec.sections[name])
    for name, table in (("let", spec.let), ("shared", spec.shared)):
        if table:
            yield name, Map(_bindings(table), flow=False)
    if spec.columns or spec.stage_shared:
        yield "stages", _stages(spec.columns, spec.stage_shared)
    if spec.freeze:
        yield "freeze", Items(_items(map(_value, spec.freeze)))
    if spec.init:
        yield "init", _expressions(spec.init)
    if spec.weights:
        yield "weights", Map([Entry(Word(name), _weights(table)) for name, table in spec.weights.items()], flow=False)
    for name, sets in (("traits", spec.traits), ("variants", spec.variants)):
        if sets:
            yield name, Map([Entry(Word(key), _edit_set(value)) for key, value in sets.items()], flow=False, aligned=True)
    for name, rows in (("checkpoints", spec.checkpoints), ("facts", spec.facts)):
        if rows.header:
            yield name, Rows([list(map(Word, row)) for row in (rows.header, *rows.rows)])


def _paper(value: str) -> Word:
    """An arXiv number would lose its last zero where another YAML reader takes it for a number."""
    return Word(value, quoted=re.fullmatch(r"\d+\.\d+", value) is not None)


def _items(parts: Iterable[Part]) -> list[Entry]:
    return [Entry(Word(""), part) for part in parts]


def _value(node: e.Node) -> Part:
    # `*x` has no other place than an expression's own brackets.
    if isinstance(node, e.List) and not any(isinstance(item, e.Splice) for item in node.items):
        return Items(_items(map(_value, node.items)))
    return Word(show(node), expression=True, node=node)


def _expressions(table: Mapping[str, e.Node], flow: bool = True) -> Map:
    return Map([Entry(Word(key), _value(value)) for key, value in table.items()], flow)


def _bindings(table: Table) -> list[Entry]:
    return [Entry(Word(show(binding.header), expression=True), _value(binding.body)) for binding in table.values()]


def _stages(columns: Table, shared: Table) -> Map:
    entries = _bindings(columns)
    if shared:
        entries.append(Entry(Word("shared"), Map(_bindings(shared), flow=False)))
    return Map(entries, flow=False, aligned=True)


def _weights(table: WeightTable) -> Map:
    entries = [Entry(Word("of"), Word(table.of))] if table.of is not None else []
    entries += [Entry(Word(rule.ours), Word(rule.theirs)) for rule in table.rules]
    if table.ignore:
        entries.append(Entry(Word("ignore"), Items(_items(map(Word, table.ignore)))))
    return Map(entries, flow=len(entries) <= 2)


def _edit_set(edits: EditSet) -> Map:
    entries: list[Entry] = []
    if edits.of:
        of = list(map(Word, edits.of))
        entries.append(Entry(Word("of"), of[0] if len(of) == 1 else Items(_items(of))))
    entries += [Entry(Word(show(edit.target), expression=True), _edit(edit)) for edit in edits.edits]
    if edits.init:
        entries.append(Entry(Word("init"), _expressions(edits.init)))
    return Map(entries)


def _edit(edit: Edit) -> Part:
    """In a variant that fits into its line, its tables stand there too."""
    if isinstance(edit.value, e.Node):
        return _value(edit.value)
    table = _stages(edit.value, {}) if edit.name == "stages" else Map(_bindings(edit.value))
    table.flow = True
    return table
