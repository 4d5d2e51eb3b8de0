"""Reads the tables `facts` and `checkpoints` of a file."""

from __future__ import annotations

import re

from ..errors import suggest
from .entries import EntryReader
from .spec import Facts
from .yaml import Node, Sequence

COUNTS = ("params", "trainable", "macs", "deployed")
FACTS = (
    "variant", "input", "params", "trainable", "macs", "deployed",
    "reported.params", "reported.macs", "reported.top1", "reported.ap", "reported.miou", "reported.bleu", "reported.loss",
)  # fmt: skip


class TableReader(EntryReader):
    """Reads entries, and tables with a header row."""

    def table_of(self, section: str, columns: tuple[str, ...], node: Node | None) -> Facts:
        if node is None:
            return Facts()
        if not isinstance(node, Sequence) or not node.items or not all(isinstance(row, Sequence) for row in node.items):
            hint = f"a list of rows `- [variant, {columns[2]}, ...]`, the first of them the header"
            self.wrong(f"`{section}` is a table", node.span.part(0, 1), hint)
            return Facts()
        lines = [row for row in node.items if isinstance(row, Sequence)]
        rows = [tuple(self.word(cell) or "" for cell in self.items(row)) for row in lines]
        header = rows[0]
        for at, (name, cell) in enumerate(zip(header, lines[0].items, strict=True)):
            if name not in columns:
                hint = suggest(name, columns, f"known: {', '.join(columns)}") or ""
                self.wrong(f"unknown column '{name}' in `{section}`", cell.span, hint)
            elif name in header[:at]:
                self.wrong(f"the column '{name}' stands twice in `{section}`", cell.span, "keep one of the two")
            elif not at and name != columns[0]:
                self.wrong(f"`{section}` begins with the column '{columns[0]}'", cell.span, "its rows are found by it")
        for at, (row, line) in enumerate(zip(rows, lines, strict=True)):
            if lines[0].comma or line.comma:
                pass  # it was one cell too many, or one too few: that is said
            elif len(row) != len(header):
                self.wrong(
                    f"{len(row)} cell{'s' * (len(row) != 1)} under a header of {len(header)}",
                    line.span,
                    "write `-` for what is not known",
                )
            elif at and row[0] in (other[0] for other in rows[:at]):
                self.wrong(f"`{section}` has two rows for '{row[0]}'", line.span, "keep one of the two")
            for name, text, cell in zip(header, row, line.items, strict=False) if at and header[0] == columns[0] else ():
                if name in COUNTS and text != "-" and not re.fullmatch("[0-9]{1,18}", text):
                    self.wrong(f"'{text}' is no count", cell.span, f"`{name}` is exact: a whole number, or `-`")
        return Facts(header, tuple(rows[1:]), tuple(tuple(cell.span for cell in line.items) for line in lines[1:]))
