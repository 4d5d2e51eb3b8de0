"""Lays parts out in lines: what fits on one line, what goes below a key, and where YAML needs quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from .parts import Entry, Items, Map, Notes, Part, Rows, Statement, TextPart, noted

WIDTH = 130
_CHAINS = 80  # a longer list with chains has a line for each
_COLUMN = 64  # trailing comments are aligned up to this column
# Sections that stand together; a blank line is between the groups.
GROUPS = (
    ("metablock", "name", "paper", "backbone", "input", "classes"),
    ("let", "shared"),
    ("stem", "stages", "head", "model", "predict", "loss"),
    ("freeze", "init"),
    ("weights",),
    ("traits", "variants"),
    ("method",),
    ("views", "recipe"),
    ("checkpoints",),
    ("facts",),
)


@dataclass
class _Line:
    text: str  # "" is a blank line
    comment: str = ""  # behind it


def laid_out(sections: Mapping[str, Entry]) -> str:
    """The text of a file from its sections."""
    own = "name" if "name" in sections else "method"  # a method's file begins with its name
    order = [[own if name == "name" else name for name in group if name != own or own == "name"] for group in GROUPS]
    groups = [[line for name in group if name in sections for line in _entry(sections[name], 0)] for group in order]
    return "\n\n".join("\n".join(_commented(_trimmed(lines))) for lines in groups if lines) + "\n"


def _trimmed(lines: list[_Line]) -> list[_Line]:
    """The lines without blank ones at the beginning and the end."""
    texts = [bool(line.text) for line in lines]
    return lines[texts.index(True) : len(lines) - texts[::-1].index(True)] if any(texts) else []


def _commented(lines: list[_Line]) -> list[str]:
    """Texts of the lines, trailing comments of a paragraph aligned; those on long lines, or too long to fit, are not."""
    result: list[str] = []
    for _, paragraph in groupby(lines, key=lambda line: not line.text):
        run = list(paragraph)
        column = max((len(line.text) for line in run if line.comment and len(line.text) <= _COLUMN), default=0)
        for line in run:
            fits = column + 2 + len(line.comment) <= WIDTH
            result.append(f"{line.text:{column if fits else 0}}  {line.comment}" if line.comment else line.text)
    return result


# Entries


def _entry(entry: Entry, indent: int, width: int = 0) -> list[_Line]:
    """``key: value``, or the key and lines below it; ``width`` is the width of the column of keys."""
    head, part = f"{' ' * indent}{_key(entry)}:", entry.value
    text = None if noted(part) else _line(part)
    line = "" if text is None else f"{head:{indent + width + 1}} {text}"
    if text is not None and (len(line) <= WIDTH or not _breaks(part)):
        lines = [_Line(line)]
    else:
        lines = [_Line(head + (" |" if isinstance(part, TextPart) else "")), *_below(part, indent + 2)]
    return _with(entry.notes, lines, indent)


def _with(notes: Notes, lines: list[_Line], indent: int, at: int = 0) -> list[_Line]:
    """The lines of an entry with its comments; the trailing one goes to line ``at``."""
    margin = " " * indent
    above = list(notes.above)
    if notes.behind:
        if len(lines[at].text) + 2 + len(notes.behind) <= WIDTH:
            lines[at].comment = notes.behind
        else:
            above.append(notes.behind)
    around = [[_Line(margin + text if text else "") for text in texts] for texts in (above, notes.below)]
    return [*around[0], *lines, *around[1]]


def _key(entry: Entry) -> str:
    return _quoted(entry.key) or entry.key.text


def _below(part: Part, indent: int) -> list[_Line]:
    """The lines below a key or behind a dash."""
    if isinstance(part, TextPart):
        lines = [line for statement in part.statements for line in _statement(statement, indent)]
    elif isinstance(part, Items):
        lines = [line for entry in part.entries for line in _item(entry, indent)]
    elif isinstance(part, Rows):
        rows = zip(_rows(part), part.notes, strict=True)
        lines = [line for row, notes in rows for line in _with(notes, [_Line(f"{' ' * indent}- {row}")], indent)]
    else:
        lines = [line for run in _runs(part) for entry, width in run for line in _entry(entry, indent, width)]
    return _trimmed(lines)


def _runs(part: Map) -> list[list[tuple[Entry, int]]]:
    """The entries between blank lines, each with the width of the keys of its run."""
    runs: list[list[Entry]] = []
    for entry in part.entries:
        if not runs or "" in entry.notes.above:
            runs.append([])
        runs[-1].append(entry)
    widths = []
    for run in runs:
        inline = [len(_key(entry)) for entry in run if not noted(entry.value) and _fits(entry)]
        widths.append(max((width for width in inline if width <= WIDTH // 4), default=0) if part.aligned else 0)
    return [[(entry, width) for entry in run] for run, width in zip(runs, widths, strict=True)]


def _fits(entry: Entry) -> bool:
    text = _line(entry.value)
    return text is not None and len(_key(entry)) + len(text) <= WIDTH - 4


def _breaks(part: Part) -> bool:
    """Whether the part may be broken into several lines: a word may not, nor an empty list or mapping."""
    if isinstance(part, TextPart):
        return part.expression
    return bool(part.rows if isinstance(part, Rows) else part.entries)


def _statement(statement: Statement, indent: int) -> list[_Line]:
    lines: list[_Line] = []
    for number, (code, comment) in enumerate(statement.pieces):
        lines += map(_Line, _wrapped(code, indent + 2 * bool(number), indent + 2))
        lines[-1].comment = comment
    return _with(statement.notes, lines, indent, at=-1)


def _wrapped(text: str, indent: int, then: int) -> list[str]:
    """A line of an expression, broken if too long: blanks outside strings mean nothing."""
    lines, line = [], " " * indent
    for word in re.findall(r'(?:(?:>>|\|\|) )?(?:"[^"]*"|[^" ])+', text):
        if line.strip() and len(f"{line} {word}") > WIDTH:
            lines.append(line)
            line = " " * then + word
        else:
            line += f" {word}" if line.strip() else word
    return [*lines, line]


def _item(entry: Entry, indent: int) -> list[_Line]:
    part, dash = entry.value, " " * indent + "- "
    text = None if noted(part) else _line(part)
    if text is not None and (len(dash + text) <= WIDTH or not _breaks(part)):
        lines = [_Line(dash + text)]
    else:
        lines = _below(part, indent + 2)
        if isinstance(part, TextPart):
            lines = [_Line(dash + "|"), *lines]
        elif lines[0].text.lstrip().startswith("#"):  # a comment above the first item of a list in a list
            lines = [_Line(dash.rstrip()), *lines]
        else:
            lines[0].text = dash + lines[0].text.lstrip()
    return _with(entry.notes, lines, indent)


# In one line


def _line(part: Part) -> str | None:
    """The text after `key: ` if one line holds it."""
    return _quoted(part) if isinstance(part, TextPart) else _inline(part)


def _inline(part: Part) -> str | None:
    """The text of a part inside [ ] or { }, if it may stand there."""
    if isinstance(part, TextPart):
        return _quoted(part, flow=True)
    if isinstance(part, Items):
        # Quotes could protect an expression with commas; the files write it as a `- ` line.
        if any(
            isinstance(entry.value, TextPart) and entry.value.expression and "," in entry.value.text for entry in part.entries
        ):
            return None
        items = _all(_inline(entry.value) for entry in part.entries)
        if items is None or (len(text := f"[{', '.join(items)}]") > _CHAINS and " >> " in text):
            return None
        return text
    if isinstance(part, Rows) or not part.flow:
        return None
    keys = _all(_inline(entry.key) for entry in part.entries)
    values = _all(_inline(entry.value) for entry in part.entries)
    if keys is None or values is None:
        return None
    return "{" + ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True)) + "}"


def _all(texts: Iterable[str | None]) -> list[str] | None:
    items = list(texts)
    return None if None in items else [text for text in items if text is not None]


def _rows(table: Rows) -> list[str]:
    """The rows of a table: names and places aligned left, numbers right. Padding follows the comma: `- ` would begin a list."""
    cells = [[_quoted(cell, flow=True) or "" for cell in row] for row in table.rows]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    left = [i == 0 or any("/" in cell for cell in column) for i, column in enumerate(columns)]
    lines = []
    for row in cells:
        text = ""
        for i, cell in enumerate(row):
            more = i + 1 < len(row)
            pad = " " * (widths[i] - len(cell))
            text += (cell + ", " * more + pad * more) if left[i] else pad + cell + ", " * more
        lines.append(f"[{text}]")
    return lines


# Quotes

# Texts that YAML does not read as plain scalars: after a key, and inside [ ] and { }.
_SPECIAL = re.compile(r"""$|[\s,\[\]{}#&*!|>'"%@`]|[-?:](\s|$)|<<$|.*(\s$|:(\s|$)|\s#|[\t\n])""", re.DOTALL)
_SPECIAL_IN_FLOW = re.compile(r"""$|[\s#&*!|>'"%@`:]|-\s|<<$|.*([,?\[\]{}\t\n]|\s$|:(\s|$)|\s#)""", re.DOTALL)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\t": r"\t"})


def _quoted(part: TextPart, flow: bool = False) -> str | None:
    """The text, in quotes if YAML needs them; None for an expression that must stand below a `|`."""
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
