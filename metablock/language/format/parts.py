"""The parts of a text, between a spec and its lines: words and expressions, lists, mappings, tables, with their comments.

Only some mappings may stand on one line, `{a: b}`: those that the files write so.
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
    """A line of an expression, in pieces: a comment follows each but the last, and so a line break."""

    pieces: list[tuple[str, str]]  # code, the comment behind it
    notes: Notes = field(default_factory=Notes)

    @property
    def whole(self) -> bool:
        return len(self.pieces) == 1


@dataclass
class TextPart:
    """A word, or an expression (which may have several lines, and no escapes)."""

    text: str
    expression: bool = False
    quoted: bool = False  # also where YAML does not need it
    node: e.Node | None = None  # the expression's tree
    statements: list[Statement] = field(init=False)

    def __post_init__(self) -> None:
        self.statements = [Statement([(line, "")]) for line in self.text.split("\n")]

    @property
    def noted(self) -> bool:
        return any(statement.notes or not statement.whole for statement in self.statements)


@dataclass
class Entry:
    """A key and its value, or an item of a list (whose key is empty)."""

    key: TextPart
    value: Part
    notes: Notes = field(default_factory=Notes)

    @property
    def noted(self) -> bool:
        """Whether the entry or a part of it has a comment: then it needs lines of its own."""
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
    """A table with aligned cells."""

    rows: list[list[TextPart]]
    notes: list[Notes] = field(init=False)

    def __post_init__(self) -> None:
        self.notes = [Notes() for _ in self.rows]


Part: TypeAlias = "TextPart | Items | Map | Rows"


def noted(part: Part) -> bool:
    """Whether a comment belongs to something inside the part."""
    if isinstance(part, TextPart):
        return part.noted
    return any(part.notes) if isinstance(part, Rows) else any(entry.noted for entry in part.entries)


def sections_of(spec: Spec) -> dict[str, Entry]:
    """The sections of a spec's file, by name.

    >>> from metablock.language.load import load_text
    >>> list(sections_of(load_text("name: net\\ninput: image(3, 32)\\nmodel: pw(8)\\n")))
    ['metablock', 'name', 'input', 'model']
    """
    return {name: Entry(TextPart(name), part) for name, part in _sections(spec)}


def _sections(spec: Spec) -> Iterator[tuple[str, Part]]:
    yield "metablock", TextPart(str(spec.revision))
    yield ("method" if spec.holes else "name"), TextPart(spec.name)
    if spec.paper:
        yield "paper", Map([Entry(TextPart(key), _paper(value)) for key, value in spec.paper.items()])
    if spec.holes:
        kinds = {name: TextPart(f"{hole.takes} -> {hole.gives}") for name, hole in spec.holes.items()}
        yield "backbone", Map([Entry(TextPart(name), kind) for name, kind in kinds.items()], flow=False)
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
        yield "freeze", Items(_items(map(TextPart, spec.freeze)))
    if spec.init:
        yield "init", _expressions(spec.init)
    if spec.weights:
        yield "weights", Map([Entry(TextPart(name), _weights(table)) for name, table in spec.weights.items()], flow=False)
    for name, sets in (("traits", spec.traits), ("variants", spec.variants)):
        if sets:
            yield name, Map([Entry(TextPart(key), _edit_set(value)) for key, value in sets.items()], flow=False, aligned=True)
    if spec.method is not None:
        yield "method", Map(_nested(spec.method), flow=False)
    if spec.views:
        views = {name: _words(values) for name, values in spec.views.items()}
        yield "views", Map([Entry(TextPart(name), view) for name, view in views.items()], flow=False)
    if spec.recipe:
        yield "recipe", _words(spec.recipe)
    for name, rows in (("checkpoints", spec.checkpoints), ("facts", spec.facts)):
        if rows.header:
            yield name, Rows([list(map(TextPart, row)) for row in (rows.header, *rows.rows)])


def _nested(method: Spec) -> list[Entry]:
    """The sections of a method inside the file of a network."""
    names = {"method": "name"}
    inside = [(name, part) for name, part in _sections(method) if name != "metablock"]
    return [Entry(TextPart(names.get(name, name)), part) for name, part in inside]


def _words(values: Mapping[str, str]) -> Map:
    return Map([Entry(TextPart(key), TextPart(value)) for key, value in values.items()])


def _paper(value: str) -> TextPart:
    """A value of `paper`. An arXiv number is quoted: another YAML reader would take it for a float and drop a last zero."""
    return TextPart(value, quoted=re.fullmatch(r"\d+\.\d+", value) is not None)


def _items(parts: Iterable[Part]) -> list[Entry]:
    return [Entry(TextPart(""), part) for part in parts]


def _value(node: e.Node) -> Part:
    # `*x` has no other place than an expression's own brackets.
    if isinstance(node, e.List) and not any(isinstance(item, e.Splice) for item in node.items):
        return Items(_items(map(_value, node.items)))
    return TextPart(show(node), expression=True, node=node)


def _expressions(table: Mapping[str, e.Node], flow: bool = True) -> Map:
    return Map([Entry(TextPart(key), _value(value)) for key, value in table.items()], flow)


def _bindings(table: Table) -> list[Entry]:
    return [Entry(TextPart(show(binding.header), expression=True), _value(binding.body)) for binding in table.values()]


def _stages(columns: Table, shared: Table) -> Map:
    entries = _bindings(columns)
    if shared:
        entries.append(Entry(TextPart("shared"), Map(_bindings(shared), flow=False)))
    return Map(entries, flow=False, aligned=True)


def _weights(table: WeightTable) -> Map:
    entries = [Entry(TextPart("of"), TextPart(table.of))] if table.of is not None else []
    entries += [Entry(TextPart(rule.ours), TextPart(rule.theirs)) for rule in table.rules]
    if table.ignore:
        entries.append(Entry(TextPart("ignore"), Items(_items(map(TextPart, table.ignore)))))
    return Map(entries, flow=len(entries) <= 2)


def _edit_set(edits: EditSet) -> Map:
    entries: list[Entry] = []
    if edits.of:
        of = list(map(TextPart, edits.of))
        entries.append(Entry(TextPart("of"), of[0] if len(of) == 1 else Items(_items(of))))
    entries += [Entry(TextPart(show(edit.target), expression=True), _edit(edit)) for edit in edits.edits]
    if edits.init:
        entries.append(Entry(TextPart("init"), _expressions(edits.init)))
    return Map(entries)


def _edit(edit: Edit) -> Part:
    """The value of an edit; its table stands on the variant's line if that fits."""
    if isinstance(edit.value, e.Node):
        return _value(edit.value)
    table = _stages(edit.value, {}) if edit.name == "stages" else Map(_bindings(edit.value))
    table.flow = True
    return table
