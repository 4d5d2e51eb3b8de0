"""Answers as text: readable at 80 columns, without colours where the output is no terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from ..report.layout import short
from ..report.models import BuildReport, CatalogueRow, Deployed, Figures, OperatorRow, OperatorText, OpRow, PartRow, TableRow
from ..report.shape_steps import ShapeStep
from .operator_page import operator_page

_UNWRAPPED = 10_000


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """A callback that shows the current phase on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda phase: None
        return
    with Console(stderr=True, markup=False).status("starting") as status:
        yield status.update


def build_tables(report: BuildReport) -> None:
    """Prints the parts with their costs, the totals beside the paper's, then how the network was built and how fast it runs."""
    console = _console()
    variant = report.variant or report.name
    console.print(f"{variant}: {report.title}" if report.title else variant, soft_wrap=True)
    for edit in report.edits:
        console.print(f"  {edit}", soft_wrap=True)
    _print(_parts(report))
    for name, texts in _names(report.rows).items():
        _hanging(name, texts)
    for name, text in _facts(report):
        console.print(f"{name:<9} {text}", soft_wrap=True)


def _names(rows: Sequence[PartRow]) -> dict[str, list[str]]:
    """What the names in the parts' texts stand for, where they differ: a text for parts in a row in which one is the same."""
    names: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row.names):
        texts = [(row.names.get(name), row.name) for row in rows if row.names]
        for text, group in groupby(texts, lambda one: one[0]):
            parts = [part for _, part in group]
            label = parts[0] if len(parts) == 1 else f"{parts[0].replace(' ', 's ')}-{parts[-1].rpartition(' ')[2]}"
            names.setdefault(name, []).extend([f"{label}: {text}"] if text is not None else [])
    return names


def _hanging(name: str, texts: Sequence[str]) -> None:
    """Prints texts behind a name, on one line if they fit; at a terminal long ones are wrapped."""
    first, joined = f"{name:<9} ", "; ".join(texts)
    width = max(_console().width, 40)
    for text in [joined] if len(first) + len(joined) <= width else texts:
        wrapped = textwrap.wrap(
            text, width - len(first) if _terminal() else _UNWRAPPED, break_long_words=False, break_on_hyphens=False
        )
        for line in wrapped:
            typer.echo(first + line)
            first = " " * len(first)


def _parts(report: BuildReport) -> Table:
    lines = [
        (
            row.name,
            row.text,
            ", ".join(row.output).replace("map ", ""),
            _exact(row.parameters),
            _exact(row.macs),
        )
        for row in report.rows
    ]
    totals: list[Sequence[str]] = [("total", "", "", _exact(report.totals.parameters), _exact(report.totals.macs))]
    if report.totals.frozen:
        totals.append(("  trainable", "", "", _exact(report.totals.trainable), ""))
    totals += _paper(report.figures) if report.figures else []
    table = _table(("", 0), ("what it is", 1), ("output", 0), ("parameters", 2), ("MACs", 2), rows=[*lines, *totals])
    for line in lines:
        table.add_row(*line)
    table.add_section()
    for total in totals:
        table.add_row(*total)
    return table


def _paper(figures: Figures) -> Iterator[Sequence[str]]:
    """The figures of the unchanged variant: exact, and as the paper prints them."""
    name = f"{figures.variant}, unedited" if figures.edited else figures.variant
    exact = [figures.exact.get(key) for key in ("params", "macs")]
    if any(cell is not None for cell in exact):
        yield ("official", name, "", *map(_cell, exact))
    if figures.reported:
        more = [f"{key} {value}" for key, value in figures.reported.items() if key not in ("params", "macs")]
        yield ("paper", ", ".join([name, *more]), "", *(_cell(figures.reported.get(key)) for key in ("params", "macs")))


def _facts(report: BuildReport) -> Iterator[tuple[str, str]]:
    graphs, seconds = report.graphs, report.seconds
    if report.weights:
        yield "weights", report.weights
    if report.deployed:
        yield "deployed", _deployed(report.deployed)
    blocks = f"{graphs.distinct} distinct {'block' if graphs.distinct == 1 else 'blocks'}"
    yield "graphs", f"{blocks}, not compiled" if graphs.compiled is None else f"{graphs.compiled} made, for {blocks}"
    compiled = f", compiled in {seconds.compile:.1f} s (first pass included)" if seconds.compile is not None else ""
    yield "time", f"built in {seconds.build:.2f} s{compiled}"
    if seconds.latency is not None:
        passes = "a pass" if seconds.passes == 1 else f"median of {seconds.passes} passes"
        yield "latency", f"{_milliseconds(seconds.latency)}, {passes}, batch {report.batch}, {report.dtype}, on {report.device}"
    yield "output", ", ".join("x".join(map(str, shape)) for shape in report.outputs)
    if report.written:
        yield "written", f"{report.written} ({report.checked})" if report.checked else report.written


def _deployed(done: Deployed) -> str:
    if not done.merged:
        return "nothing collapses"
    parts = sum(len(one.parts) for one in done.merged)
    params, macs = (" -> ".join(map(_exact, pair)) for pair in (done.params, done.macs))
    proof = f"; outputs differ by {done.difference:.0e} of the largest" if done.difference is not None else ""
    return f"{parts} parts are {len(done.merged)} now; parameters {params}, MACs {macs}{proof}"


def shape_table(steps: Sequence[ShapeStep]) -> None:
    """Prints a line a step, indented by depth."""
    rows = [("  " * step.depth + step.name, _in_blocks(step), _features(step.inputs), _features(step.outputs)) for step in steps]
    table = _table(("", 0), ("what it is", 1), ("in", 0), ("out", 0), rows=rows)
    for row in rows:
        table.add_row(*row)
    _print(table)


def _in_blocks(step: ShapeStep) -> str:
    """The text of a step, and which of the blocks that share a line have it, if not all."""
    if not step.only:
        return step.text
    return f"{step.text}, in block{'s' if len(step.only) > 1 else ''} {', '.join(step.only)}"


def catalogue_table(rows: Sequence[CatalogueRow]) -> None:
    """Prints a line a variant. What the variants of a file share stands once above them at a terminal, else in every line."""
    lines = [
        (
            row.name,
            short(row.parameters) + (f" + {short(row.frozen)}" if row.frozen else ""),
            short(row.macs),
            row.input,
            ", ".join(row.mixers),
        )
        for row in rows
    ]
    heads = (("name", 0), ("params", 2), ("MACs", 2), ("input", 0), ("mixers", 1))
    if not _terminal():
        more = [(_cell(row.year), row.file, row.paper or "-") for row in rows]
        whole = [(*line, *shared) for line, shared in zip(lines, more, strict=True)]
        table = _table(*heads, ("year", 2), ("file", 0), ("paper", 1), rows=whole)
        for full in whole:
            table.add_row(*full)
        _console(wide=True).print(table)
        return
    console = _console()
    for file in dict.fromkeys(row.file for row in rows):
        first = next(row for row in rows if row.file == file)
        console.print(", ".join(str(part) for part in (first.paper, first.year, file) if part))
        table = _table(*heads, rows=lines)
        for row, line in zip(rows, lines, strict=True):
            if row.file == file:
                table.add_row(*line)
        _print(table, margin=2)


def side_by_side(rows: Sequence[TableRow]) -> None:
    """Prints a line a network."""
    from ..report.table import cells

    heads, lines = cells(rows)
    kinds = {"model": 0, "note": 1}
    table = _table(*((head, kinds.get(head, 2)) for head in heads), rows=lines)
    for line in lines:
        table.add_row(*line)
    _print(table) if _terminal() else _console(wide=True).print(table)


def op_table(rows: Sequence[OpRow], shapes: bool) -> None:
    """Prints a line an operator, with its first shapes; or a line a shape."""
    lines = []
    for row in rows:
        if shapes:
            counts = zip(row.counts, row.shapes, strict=True)
            lines += [(row.operator if i == 0 else "", str(n), shape) for i, (n, shape) in enumerate(counts)]
        else:
            more = f"  and {len(row.shapes) - 1} more" if len(row.shapes) > 1 else ""
            lines.append((row.operator, str(row.calls), row.shapes[0] + more))
    table = _table(("operator", 0), ("calls", 2), ("in -> out", 1), rows=lines)
    for line in lines:
        table.add_row(*line)
    _print(table) if _terminal() else _console(wide=True).print(table)


def operator_table(rows: Sequence[OperatorRow]) -> None:
    """Prints each operator's signature, and below it what the operator does."""
    for row in rows:
        typer.echo(row.signature)
        text = row.doc if row.kind == "operator" else f"= {row.doc}"
        typer.echo(textwrap.fill(text, 100, initial_indent="    ", subsequent_indent="    "))


def print_operator(text: OperatorText) -> None:
    """Prints all that is known of an operator."""
    for line in operator_page(text, text_width()):
        typer.echo(line)


def text_width() -> int:
    """The width of lines of text: the terminal's, but for wide ones."""
    return min(_console().width, 100)


def _table(*heads: tuple[str, int], rows: Sequence[Sequence[str]]) -> Table:
    """A table of three kinds of columns: 1 is folded first, 0 only where that is not enough; 2 has numbers, is never folded."""
    widths = [max(map(len, [head, *(row[index] for row in rows)])) for index, (head, _) in enumerate(heads)]
    least = [width if kind == 2 else min(width, 18 - 8 * kind) for width, (_, kind) in zip(widths, heads, strict=True)]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for (head, kind), width in zip(heads, least, strict=True):
        justify: Literal["left", "right"] = "right" if kind == 2 else "left"
        table.add_column(head, overflow="fold", no_wrap=kind == 2, min_width=width, justify=justify)
    table.min_width = sum(least) + 2 * (len(least) - 1)  # on a narrower terminal, lines are longer; none is lost
    return table


def _print(table: Table, margin: int = 0) -> None:
    console = _console()
    console.width = max(console.width, (table.min_width or 0) + margin)
    table.min_width = None
    console.print(Padding(table, (0, 0, 1 if margin else 0, margin)) if margin else table)


def _terminal() -> bool:
    return sys.stdout.isatty()


def _console(wide: bool = False) -> Console:
    return Console(markup=False, highlight=False, emoji=False, width=_UNWRAPPED if wide else None)


def _features(features: Sequence[object]) -> str:
    return ", ".join(map(str, features))


def _exact(value: int) -> str:
    return f"{value:,}"


def _cell(value: object) -> str:
    return "-" if value is None else _exact(value) if isinstance(value, int) and value > 9999 else str(value)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"
