"""Answers as text: readable at 80 columns, without colours where the output is no terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import typer

from ..report.layout import short
from .application import say
from .tables import Head, Kind, print_table, say_wrapped, text_width, width_of_terminal

if TYPE_CHECKING:
    from ..report.models import BuildReport, CatalogueRow, Deployed, Figures, MethodRow, OpRow, PartRow, TableRow, Tuned
    from ..report.name_models import OperatorRow, OperatorText
    from ..report.shape_steps import ShapeStep


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """A callback that shows the current phase on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda phase: None
        return
    from rich.console import Console

    with Console(stderr=True, markup=False).status("starting") as status:
        yield status.update


def build_tables(report: BuildReport) -> None:
    """Prints the parts with their costs, the totals beside the paper's, then how the network was built and how fast it runs."""
    variant = report.variant or report.name
    say_wrapped(f"{variant}: {report.title}" if report.title else variant)
    for edit in report.edits:
        say_wrapped(f"  {edit}", "    ")
    _parts(report)
    for name, texts in _names(report.rows).items():
        _hanging(name, texts)
    for name, text in _facts(report):
        say_wrapped(f"{name:<9} {text}", " " * 10)
    if report.tuned is not None:
        typer.echo("")
        _tuned(report.tuned)


def _tuned(tuned: Tuned) -> None:
    """Prints the ways to compile that were measured; the first is the one taken."""
    heads = [Head(text, "name") for text in ("way", "kernels in memory", "mode", "fused")] + _numbers("a pass", "ratio")
    fastest = tuned.rows[0].seconds or 1.0
    rows = [
        (
            row.way,
            "channels-last" if row.channels_last else "as built",
            row.mode,
            {True: "yes", False: "no", None: ""}[row.fused],
            _milliseconds(row.seconds) if row.seconds is not None else "",
            f"{row.seconds / fastest:.2f}" if row.seconds is not None else "",
            row.failure or "",
        )
        for row in tuned.rows
    ]
    columns = list(zip([*heads, Head("why not", "text")], zip(*rows, strict=True), strict=True))
    used = [(head, cells) for head, cells in columns if any(cells)]
    print_table([head for head, _ in used], list(zip(*(cells for _, cells in used), strict=True)))
    if tuned.recalled:
        say_wrapped("measured by an earlier run; METABLOCK_CACHE=0 measures again")


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
    fits = len(first) + len(joined) <= (width_of_terminal() or 80)
    for number, text in enumerate([joined] if fits else texts):
        say_wrapped((" " * len(first) if number else first) + text, " " * len(first))


def _parts(report: BuildReport) -> None:
    lines: list[Sequence[str] | None] = [
        (row.name, row.text, ", ".join(row.output).replace("map ", ""), _exact(row.parameters), _exact(row.macs))
        for row in report.rows
    ]
    totals: list[Sequence[str]] = [("total", "", "", _exact(report.totals.parameters), _exact(report.totals.macs))]
    if report.totals.frozen:
        totals.append(("  trainable", "", "", _exact(report.totals.trainable), ""))
    totals += _paper(report.figures) if report.figures else []
    heads = (Head("", "name"), Head("what it is", "text"), Head("output", "shapes"), *_numbers("parameters", "MACs"))
    print_table(heads, [*lines, None, *totals])


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
    print_table((Head("", "name"), Head("what it is", "text"), Head("in", "shapes"), Head("out", "shapes")), rows)


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
    heads = (Head("name", "name"), *_numbers("params", "MACs"), Head("input", "shapes"), Head("mixers", "text"))
    if width_of_terminal() is None:
        more = [(_cell(row.year), row.file, row.paper or "-") for row in rows]
        whole = [(*line, *shared) for line, shared in zip(lines, more, strict=True)]
        print_table((*heads, *_numbers("year"), Head("file", "name"), Head("paper", "text")), whole)
        return
    for file in dict.fromkeys(row.file for row in rows):
        first = next(row for row in rows if row.file == file)
        say_wrapped(", ".join(str(part) for part in (first.paper, first.year, file) if part))
        print_table(heads, [line for row, line in zip(rows, lines, strict=True) if row.file == file], margin=2)
        say("")


def method_table(rows: Sequence[MethodRow]) -> None:
    """Prints a line a method."""
    heads = (Head("name", "name"), *_numbers("year"), Head("takes", "text"), Head("paper", "text"))
    takes = [", ".join(f"{part}: {kinds}" for part, kinds in row.takes.items()) for row in rows]
    print_table(heads, [(row.name, _cell(row.year), text, row.paper or "-") for row, text in zip(rows, takes, strict=True)])


def side_by_side(rows: Sequence[TableRow]) -> None:
    """Prints a line a network."""
    from ..report.table import cells

    heads, lines = cells(rows)
    kinds: dict[str, Kind] = {"model": "name", "note": "text"}
    print_table([Head(head, kinds.get(head, "number")) for head in heads], lines)


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
    print_table((Head("operator", "name"), *_numbers("calls"), Head("in -> out", "text")), lines)


def operator_table(rows: Sequence[OperatorRow]) -> None:
    """Prints each operator's signature, and below it what the operator does."""
    for row in rows:
        typer.echo(row.signature)
        text = row.doc if row.kind == "operator" else f"= {row.doc}"
        width = text_width()
        indented = textwrap.wrap(
            text, width, initial_indent="    ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
        typer.echo("\n".join(indented))


def print_operator(text: OperatorText) -> None:
    """Prints all that is known of an operator."""
    from .operator_page import operator_page

    for line in operator_page(text, text_width()):
        typer.echo(line)


def _numbers(*heads: str) -> list[Head]:
    return [Head(head, "number") for head in heads]


def _features(features: Sequence[object]) -> str:
    return ", ".join(map(str, features))


def _exact(value: int) -> str:
    return f"{value:,}"


def _cell(value: object) -> str:
    return "-" if value is None else _exact(value) if isinstance(value, int) and value > 9999 else str(value)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"
