"""A spec as text, in the canonical form of the files: ``load_text(show_spec(spec)) == spec``, but for comments.

Also for resolved specs, whose ``variant`` is a note for people: it is not printed, and a text that is read again has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeAlias

from . import expr as e
from .printer import show
from .spec import EXPRESSIONS, Edit, EditSet, Facts, Spec, Table, WeightTable

WIDTH = 130
# Sections that stand together; a blank line is between the groups.
_GROUPS = (
    ("name", "paper", "input", "classes"),
    ("let", "shared"),
    ("stem", "stages", "head", "model", "predict", "loss"),
    ("freeze", "init"),
    ("weights",),
    ("traits", "variants"),
    ("facts",),
)


def show_spec(spec: Spec) -> str:
    """The text of a spec."""
    sections = _sections(spec)
    groups = [[line for name in group if name in sections for line in _entry(name, sections[name], 0)] for group in _GROUPS]
    return "\n\n".join("\n".join(lines) for lines in groups if lines) + "\n"


def spec_hash(spec: Spec) -> str:
    """What identifies the network: the SHA-256 of its text without name, paper, facts and weight tables."""
    return sha256(show_spec(spec.with_(name="", paper={}, facts=Facts(), weights={})).encode()).hexdigest()


# The text's parts, between a spec and its lines. A map may stand in one line, `{a: b}`, only where the files write it so.


@dataclass(frozen=True)
class _Text:
    """A word, or an expression (which may have lines, and never has escapes)."""

    text: str
    expression: bool = False
    quoted: bool = False  # even where YAML does not ask for it


@dataclass(frozen=True)
class _List:
    items: tuple[_Part, ...]


@dataclass(frozen=True)
class _Map:
    entries: tuple[tuple[_Text, _Part], ...]
    flow: bool = True
    aligned: bool = False


@dataclass(frozen=True)
class _Rows:
    """A table: its cells stand below each other."""

    rows: tuple[tuple[_Text, ...], ...] = field(default=())


_Part: TypeAlias = "_Text | _List | _Map | _Rows"


# From a spec to parts


def _sections(spec: Spec) -> dict[str, _Part]:
    parts: dict[str, _Part] = {"name": _Text(spec.name)}
    if spec.paper:
        parts["paper"] = _Map(tuple((_Text(key), _paper(value)) for key, value in spec.paper.items()))
    if spec.inputs:
        only = spec.inputs.get("input") if len(spec.inputs) == 1 else None
        parts["input"] = _value(only) if only is not None else _expressions(spec.inputs, flow=False)
    parts |= {name: _value(spec.sections[name]) for name in EXPRESSIONS if name in spec.sections}
    for name, table in (("let", spec.let), ("shared", spec.shared)):
        if table:
            parts[name] = _Map(_bindings(table), flow=False)
    if spec.columns or spec.stage_shared:
        parts["stages"] = _stages(spec.columns, spec.stage_shared)
    if spec.freeze:
        parts["freeze"] = _List(tuple(map(_value, spec.freeze)))
    if spec.init:
        parts["init"] = _expressions(spec.init)
    if spec.weights:
        parts["weights"] = _Map(tuple((_Text(name), _weights(table)) for name, table in spec.weights.items()), flow=False)
    for name, sets in (("traits", spec.traits), ("variants", spec.variants)):
        if sets:
            parts[name] = _Map(tuple((_Text(key), _edit_set(value)) for key, value in sets.items()), flow=False, aligned=True)
    if spec.facts.header:
        rows = (spec.facts.header, *spec.facts.rows)
        parts["facts"] = _Rows(tuple(tuple(map(_Text, row)) for row in rows))
    return parts


def _paper(value: str) -> _Text:
    """An arXiv number would lose its last zero where another YAML reader takes it for a number."""
    return _Text(value, quoted=re.fullmatch(r"\d+\.\d+", value) is not None)


def _value(node: e.Node) -> _Part:
    # `*x` has no other place than an expression's own brackets.
    if isinstance(node, e.List) and not any(isinstance(item, e.Splice) for item in node.items):
        return _List(tuple(map(_value, node.items)))
    return _Text(show(node), expression=True)


def _expressions(table: Mapping[str, e.Node], flow: bool = True) -> _Map:
    return _Map(tuple((_Text(key), _value(value)) for key, value in table.items()), flow)


def _bindings(table: Table) -> tuple[tuple[_Text, _Part], ...]:
    return tuple((_Text(show(binding.header), expression=True), _value(binding.body)) for binding in table.values())


def _stages(columns: Table, shared: Table) -> _Map:
    entries = _bindings(columns)
    if shared:
        entries += ((_Text("shared"), _Map(_bindings(shared), flow=False)),)
    return _Map(entries, flow=False, aligned=True)


def _weights(table: WeightTable) -> _Map:
    entries: list[tuple[_Text, _Part]] = [(_Text("of"), _Text(table.of))] if table.of is not None else []
    entries += [(_Text(rule.ours), _Text(rule.theirs)) for rule in table.rules]
    if table.ignore:
        entries.append((_Text("ignore"), _List(tuple(map(_Text, table.ignore)))))
    return _Map(tuple(entries), flow=len(entries) <= 2)


def _edit_set(edits: EditSet) -> _Map:
    entries: list[tuple[_Text, _Part]] = []
    if edits.of:
        of = tuple(map(_Text, edits.of))
        entries.append((_Text("of"), of[0] if len(of) == 1 else _List(of)))
    entries += [(_Text(show(edit.target), expression=True), _edit(edit)) for edit in edits.edits]
    if edits.init:
        entries.append((_Text("init"), _expressions(edits.init)))
    return _Map(tuple(entries))


def _edit(edit: Edit) -> _Part:
    if isinstance(edit.value, e.Node):
        return _value(edit.value)
    return _stages(edit.value, {}) if edit.name == "stages" else _Map(_bindings(edit.value), flow=False)


# From parts to lines


def _entry(key: str, part: _Part, indent: int, width: int = 0) -> list[str]:
    """``key: value``, or the key and lines below it; ``width`` is that of the keys which stand in a column."""
    head = f"{' ' * indent}{key}:"
    if (text := _line(part)) is not None:
        line = f"{head:{indent + width + 1}} {text}"
        if len(line) <= WIDTH or not _breaks(part):
            return [line]
    return [head + (" |" if isinstance(part, _Text) else ""), *_below(part, indent + 2)]


def _below(part: _Part, indent: int) -> list[str]:
    """The lines below a key or behind a dash."""
    if isinstance(part, _Text):
        return [line for text in part.text.split("\n") for line in _wrapped(text, indent)]
    if isinstance(part, _List):
        return [line for item in part.items for line in _item(item, indent)]
    if isinstance(part, _Rows):
        return [f"{' ' * indent}- {row}" for row in _rows(part)]
    keys = [_quoted(key) or key.text for key, _ in part.entries]
    inline = [key for key, (_, value) in zip(keys, part.entries, strict=True) if _line(value) is not None]
    width = max((len(key) for key in inline if len(key) <= WIDTH // 4), default=0) if part.aligned else 0
    return [line for key, (_, value) in zip(keys, part.entries, strict=True) for line in _entry(key, value, indent, width)]


def _breaks(part: _Part) -> bool:
    """Whether the part may stand on several lines: a word may not, nor what is empty."""
    if isinstance(part, _Text):
        return part.expression
    return bool(part.items if isinstance(part, _List) else part.entries if isinstance(part, _Map) else part.rows)


def _wrapped(text: str, indent: int) -> list[str]:
    """A line of an expression, broken where it is too long: its blanks mean nothing, but for those in a string."""
    lines, line = [], " " * indent
    for word in re.findall(r'(?:"[^"]*"|[^" ])+', text):
        if line.strip() and len(f"{line} {word}") > WIDTH:
            lines.append(line)
            line = " " * (indent + 2) + word
        else:
            line += f" {word}" if line.strip() else word
    return [*lines, line]


def _item(part: _Part, indent: int) -> list[str]:
    dash = " " * indent + "- "
    text = _line(part)
    if text is not None and (len(dash + text) <= WIDTH or not _breaks(part)):
        return [dash + text]
    lines = _below(part, indent + 2)
    return [dash + "|", *lines] if isinstance(part, _Text) else [dash + lines[0].lstrip(), *lines[1:]]


def _line(part: _Part) -> str | None:
    """The part behind `key: `, if it has only one line."""
    return _quoted(part) if isinstance(part, _Text) else _inline(part)


def _inline(part: _Part) -> str | None:
    """The part inside [ ] or { }, if it may stand there."""
    if isinstance(part, _Text):
        # An expression with commas could stand in quotes; the files write it as a `- ` line.
        return None if part.expression and "," in part.text else _quoted(part, flow=True)
    if isinstance(part, _List):
        items = _all(map(_inline, part.items))
        return None if items is None else f"[{', '.join(items)}]"
    if isinstance(part, _Rows) or not part.flow:
        return None
    keys, values = _all(_inline(key) for key, _ in part.entries), _all(_inline(value) for _, value in part.entries)
    if keys is None or values is None:
        return None
    return "{" + ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True)) + "}"


def _all(texts: Iterable[str | None]) -> list[str] | None:
    found = list(texts)
    return None if None in found else [text for text in found if text is not None]


def _rows(table: _Rows) -> list[str]:
    """Names to the left, all else to the right: a `-` with a blank behind it would begin a list."""
    cells = [[_quoted(cell, flow=True) or "" for cell in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *rest in cells:
        names = f"{first}," + " " * (widths[0] - len(first))
        numbers = ", ".join(f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        lines.append(f"[{names} {numbers}]" if rest else f"[{first}]")
    return lines


# Quotes

# What YAML does not take for a plain text behind a key, and what it does not inside [ ] and { }.
_SPECIAL = re.compile(r"""$|[\s,\[\]{}#&*!|>'"%@`]|[-?:](\s|$)|<<$|.*(\s$|:(\s|$)|\s#|[\t\n])""", re.DOTALL)
_SPECIAL_IN_FLOW = re.compile(r"""$|[\s#&*!|>'"%@`:]|-\s|<<$|.*([,?\[\]{}\t\n]|\s$|:(\s|$)|\s#)""", re.DOTALL)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\t": r"\t"})


def _quoted(part: _Text, flow: bool = False) -> str | None:
    """A text as YAML reads it back, in quotes where it must be; None for an expression that only fits below a `|`."""
    text = part.text
    call = flow and not part.expression and re.search(r"[()]", text)  # the reader would look for a call that YAML has cut
    if not part.quoted and not call and not (_SPECIAL_IN_FLOW if flow else _SPECIAL).match(text):
        return text
    if not part.expression:
        return f'"{text.translate(_ESCAPES)}"'
    # Expressions are parsed as they stand in the file, so that nothing in them may need an escape.
    # (A backslash is one only in double quotes.)
    quote = next((quote for quote in "\"'" if quote not in text and "\n" not in text and (quote == "'" or "\\" not in text)), "")
    return f"{quote}{text}{quote}" if quote else None
