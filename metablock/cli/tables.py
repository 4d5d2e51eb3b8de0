"""Tables that stay whole: in a pipe as wide as they are; at a terminal folded between words, and cut with an ellipsis at last."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import typer

from ..errors import printable

# What a column holds: a text is folded first; a list of shapes next; a name stays on one line; a number is never touched.
Kind = Literal["text", "shapes", "name", "number"]
ELLIPSIS = "…"
_GAP = 2
_LEAST_TEXT, _LEAST_NAME, _LONGEST_WORD = 10, 14, 28


@dataclass(frozen=True)
class Head:
    """The head of a column, and what the column holds."""

    text: str
    kind: Kind


def terminal() -> bool:
    """Whether a person reads the output as it comes."""
    return sys.stdout.isatty()


def width_of_terminal() -> int | None:
    """The characters of a line; None for a pipe or a file, in which lines may have any length."""
    return max(shutil.get_terminal_size((80, 24)).columns, 20) if terminal() else None


def text_width() -> int:
    """The width of lines of text, which are wrapped wherever they go: the terminal's or that in ``COLUMNS``, at most 100."""
    return min(shutil.get_terminal_size((100, 24)).columns, 100)


def say_wrapped(text: str, later: str = "") -> None:
    """Prints a line of text; at a terminal in several, which begin with ``later``, broken between words alone."""
    width = width_of_terminal()
    lines = [text]
    if width is not None and len(text) > width:
        lines = textwrap.wrap(text, width, subsequent_indent=later, break_long_words=False, break_on_hyphens=False)
    for line in lines:
        typer.echo(printable(line))


def print_table(heads: Sequence[Head], rows: Sequence[Sequence[str] | None], margin: int = 0) -> None:
    """Prints a table; a row that is None is a blank line."""
    width = width_of_terminal()
    for line in table_lines(heads, rows, width - margin if width is not None else None):
        typer.echo((" " * margin + line).rstrip())


def table_lines(heads: Sequence[Head], rows: Sequence[Sequence[str] | None], width: int | None = None) -> list[str]:
    """The lines of a table.

    Args:
        heads: of the columns.
        rows: the cells; None for a blank line.
        width: the characters of a line; None: as many as the cells need.

    Returns:
        The head, a rule, and the rows. Lines are longer than ``width`` only where the numbers alone need it.

    >>> print("\\n".join(table_lines([Head("name", "name"), Head("what", "text")], [["swin", "a window of seven"]], 18)))
    name  what
    ──────────────────
    swin  a window of
          seven
    """
    texts = [tuple(printable(" ".join(cell.split()) if cell.strip() == cell else cell) for cell in row) for row in rows if row]
    widths = _widths(heads, texts, width)
    lines = [_row([head.text for head in heads], heads, widths)[0], "─" * (sum(widths) + _GAP * (len(widths) - 1))]
    shown = iter(texts)
    for row in rows:
        lines += [""] if row is None else _row(next(shown), heads, widths)
    return [line.rstrip() for line in lines]


def _widths(heads: Sequence[Head], rows: Sequence[Sequence[str]], width: int | None) -> list[int]:
    widths = [max([len(head.text), *(len(row[at]) for row in rows)]) for at, head in enumerate(heads)]
    if width is None:
        return widths
    words = [
        min(_LONGEST_WORD, max((len(word) for row in rows for word in row[at].split()), default=0)) for at in range(len(heads))
    ]
    steps: list[tuple[Kind, list[int]]] = [
        ("text", [max(_LEAST_TEXT, word) for word in words]),
        ("shapes", [max(_LEAST_TEXT, word) for word in words]),
        ("text", [_LEAST_TEXT] * len(heads)),
        ("name", [_LEAST_NAME] * len(heads)),
        ("shapes", [_LEAST_TEXT] * len(heads)),
    ]
    for kind, least in steps:
        excess = sum(widths) + _GAP * (len(widths) - 1) - width
        columns = [at for at, head in enumerate(heads) if head.kind == kind]
        while excess > 0 and (wide := [at for at in columns if widths[at] > max(least[at], len(heads[at].text))]):
            widest = max(wide, key=lambda at: widths[at])
            widths[widest] -= 1
            excess -= 1
    return widths


def _row(cells: Sequence[str], heads: Sequence[Head], widths: Sequence[int]) -> list[str]:
    columns = [_cell(cell, head.kind, width) for cell, head, width in zip(cells, heads, widths, strict=True)]
    lines = []
    for number in range(max(map(len, columns))):
        parts = [column[number] if number < len(column) else "" for column in columns]
        padded = [
            part.rjust(width) if head.kind == "number" else part.ljust(width)
            for part, head, width in zip(parts, heads, widths, strict=True)
        ]
        lines.append((" " * _GAP).join(padded))
    return lines


def _cell(text: str, kind: Kind, width: int) -> list[str]:
    """The lines of a cell: a name on one, others folded between words; what is longer ends in an ellipsis."""
    if len(text) <= width or kind == "number":
        return [text]
    lines = [text] if kind == "name" else textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [line if len(line) <= width else line[: width - 1] + ELLIPSIS for line in lines]


__all__ = ["ELLIPSIS", "Head", "print_table", "say_wrapped", "table_lines", "terminal", "text_width", "width_of_terminal"]
