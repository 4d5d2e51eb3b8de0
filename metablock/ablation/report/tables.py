"""The tables of a report, and how they are written as Markdown, TeX, HTML and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..matching import COUNTED
from .analysis import METRIC, POINTS, Analysis, VariantRow, base_name, cost, method, notes, tolerance
from .remarks import mixed
from .text import MILLISECONDS, NAMES, NOTHING, html, interval, level, markdown, number, per_cent, probability, signed, tex, unit


@dataclass(frozen=True)
class Line:
    """A row of a table.

    Attributes:
        cells: their texts.
        notes: remarks on the row.
        kind: for its colour: ``base``, ``problem``, a verdict, or nothing.
    """

    cells: Sequence[str]
    notes: Sequence[str] = ()
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: above it.
        columns: their titles; the first column is text, the others are numbers.
        groups: heading and lines of each group.
        foot: sentences below it.
    """

    caption: str
    columns: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Line]]]
    foot: Sequence[str] = field(default_factory=tuple)


def main_table(analysis: Analysis) -> Table:
    """Cost, metric and comparison with the base of each variant."""
    study, rows = analysis.results.study, analysis.rows
    params, macs = unit(cost(row, "params") for row in rows), unit(cost(row, "macs") for row in rows)
    latency = any(row.latency is not None for row in rows)
    frozen = any(row.cell.cost and row.cell.cost.params != row.cell.cost.trainable for row in rows)
    matched = study.match.by in COUNTED

    def parameters(row: VariantRow) -> str:
        if row.cell.cost is None:
            return NOTHING
        trainable, rest = row.cell.cost.trainable, row.cell.cost.params - row.cell.cost.trainable
        return params.show(trainable) + (f" + {params.show(rest) if rest else 0}" if frozen else "")

    columns: list[tuple[str, Callable[[VariantRow], str]]] = [
        ("variant", lambda row: row.title),
        (f"parameters{', trainable + frozen' if frozen else ''} ({params.prefix})", parameters),
        (f"MACs ({macs.prefix})", lambda row: macs.show(cost(row, "macs"))),
    ]
    if matched:
        columns.append(
            (
                f"residual, {NAMES[study.match.by]}",
                lambda row: per_cent(None if row.cell.problem or row.cell.base else row.cell.residual),
            )
        )
    if latency:
        milliseconds = unit((row.latency for row in rows), MILLISECONDS)
        columns.append(("latency (ms)", lambda row: milliseconds.show(row.latency)))
    columns += [
        (f"{METRIC} (%)", _metric),
        ("n", lambda row: NOTHING if row.cell.problem else str(len(row.metrics))),
        (f"Δ ({POINTS})", lambda row: NOTHING if row.difference is None else signed(row.difference)),
        ("interval", _interval),
        ("p, difference", lambda row: probability(row.comparison.p_difference if row.comparison else None)),
        ("p, equivalence", lambda row: probability(row.comparison.p_equivalence if row.comparison else None)),
        ("verdict", _verdict),
    ]
    groups = [
        (name, [Line([show(row) for _, show in columns], notes(analysis, row), _kind(row)) for row in rows_])
        for name, rows_ in analysis.groups.items()
    ]
    return Table(_caption(analysis), [title for title, _ in columns], groups, _foot(analysis, latency))


def cost_table(analysis: Analysis) -> Table:
    """Each cost relative to the base: what was matched, and what drifted."""
    by = analysis.results.study.match.by
    matched = COUNTED.get(by, "")
    what = [("trainable", "trainable parameters"), ("params", "all parameters"), ("macs", "MACs")]
    what += [("latency", "latency")] * any(row.latency is not None for row in analysis.rows)
    columns = ["variant", *(title + (" (matched)" if name == matched else "") for name, title in what), "widths"]

    def line(row: VariantRow) -> Line:
        parts = [NOTHING if row.cell.base else per_cent(analysis.relative(row, name)) for name, _ in what]
        return Line([row.title, *parts, row.cell.widths or NOTHING], kind=_kind(row))

    groups = [(name, [line(row) for row in rows]) for name, rows in analysis.groups.items()]
    caption = "Cost relative to the base: " + (
        "nothing was matched" if not matched else f"{NAMES[by]} were matched, the rest drifted"
    )
    return Table(caption, columns, groups)


def _metric(row: VariantRow) -> str:
    if row.mean is None:
        return NOTHING
    return number(row.mean) + ("" if row.sd is None else f" ± {number(row.sd)}")


def _interval(row: VariantRow) -> str:
    comparison = row.comparison
    if comparison is None or comparison.interval is None:
        return NOTHING
    return f"{interval(comparison.interval)} at {level(comparison.level)}"


def _verdict(row: VariantRow) -> str:
    if row.cell.problem:
        return "inapplicable"
    if row.comparison is None:
        return NOTHING
    if not row.comparison.paired.n:
        return "no result"
    return row.comparison.verdict


def _kind(row: VariantRow) -> str:
    return "base" if row.cell.base else "problem" if row.cell.problem else row.comparison.verdict if row.comparison else ""


def _caption(analysis: Analysis) -> str:
    study, data = analysis.results.study, analysis.results.data
    state = "" if analysis.complete else f" Unfinished: {analysis.done} of {analysis.planned} runs."
    return f"{study.name}: {base_name(study)} on {data.get('name', study.data)}, {len(study.seeds)} seeds.{state}"


def _foot(analysis: Analysis, latency: bool) -> list[str]:
    study = analysis.results.study
    sentences = method(analysis)
    if latency:
        sentences.append(f"Latency: median, batch of one, {analysis.results.device or 'device not recorded'}.")
    if any(row.cell.off for row in analysis.rows):
        sentences.append(f"† {NAMES[study.match.by]} could not be matched within {tolerance(study)}.")
    sentences += mixed(analysis.results)
    if not analysis.complete:
        sentences.append("The error rates hold for the finished study, not for one that is stopped when its table looks good.")
    return sentences


# As text


def to_markdown(table: Table) -> str:
    """A pipe table; notes are its last column."""
    noted = any(line.notes for _, lines in table.groups for line in lines)
    columns = [*table.columns, *(["note"] if noted else [])]
    out = [f"**{markdown(table.caption)}**", ""]
    out.append(f"| {' | '.join(map(markdown, columns))} |")
    out.append(f"|{'|'.join([':---', *['---:'] * (len(table.columns) - 1), *([':---'] if noted else [])])}|")
    for name, lines in table.groups:
        if name:
            out.append(f"| **{markdown(name)}** |{' |' * (len(columns) - 1)}")
        for line in lines:
            cells = [*line.cells, *(["; ".join(line.notes)] if noted else [])]
            out.append(f"| {' | '.join(map(markdown, cells))} |")
    return "\n".join([*out, "", *(f"{markdown(sentence)}\n" for sentence in table.foot)]).rstrip() + "\n"


def to_tex(table: Table) -> str:
    """A floating table for booktabs; notes are below their row."""
    count = len(table.columns)
    out = [
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{tex(table.caption)}}}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{l{'r' * (count - 2)}l}}",
        "\\toprule",
        " & ".join(map(tex, table.columns)) + " \\\\",
    ]
    for name, lines in table.groups:
        out.append("\\midrule")
        if name:
            out.append(f"\\multicolumn{{{count}}}{{l}}{{\\textit{{{tex(name)}}}}} \\\\")
        for line in lines:
            out.append(" & ".join(map(tex, line.cells)) + " \\\\")
            out += [f"\\multicolumn{{{count}}}{{l}}{{\\quad\\footnotesize {tex(note)}}} \\\\" for note in line.notes]
    out += ["\\bottomrule", "\\end{tabular}}"]
    out += [f"\\par\\smallskip\\footnotesize {tex(sentence)}" for sentence in table.foot]
    return "\n".join([*out, "\\end{table}"]) + "\n"


def to_html(table: Table) -> str:
    """A ``<table>``; notes are below the name of their row."""
    head = "".join(f'<th scope="col">{html(title)}</th>' for title in table.columns)
    count, body = len(table.columns), []
    for name, lines in table.groups:
        if name:
            body.append(f'<tr class="group"><th scope="colgroup" colspan="{count}">{html(name)}</th></tr>')
        for line in lines:
            first, *rest = line.cells
            remarks = "".join(f'<span class="note">{html(note)}</span>' for note in line.notes)
            cells = "".join(f"<td>{html(cell)}</td>" for cell in rest)
            body.append(f'<tr class="{html(line.kind)}"><th scope="row">{html(first)}{remarks}</th>{cells}</tr>')
    foot = "".join(f'<p class="foot">{html(sentence)}</p>' for sentence in table.foot)
    caption = f"<caption>{html(table.caption)}</caption>"
    return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>{foot}'


def to_csv(analysis: Analysis) -> str:
    """One row per run, pending ones included; a cell that cannot be built has one row without a seed."""
    results = analysis.results
    columns = (
        "cell", "levels", "stage", "seed", "status", "top1_percent", "base_top1_percent", "difference_points", "reason", "epochs",
        "train_loss", "val_loss", "seconds", "device", "params", "trainable", "macs", "residual", "within_tolerance", "widths",
        "latency_ms", "latency_device", "spec_sha256",
    )  # fmt: skip
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(columns)
    base = analysis.base.metrics if analysis.base else {}
    for row in analysis.rows:
        cell = row.cell
        levels = "; ".join(f"{factor} = {value}" for factor, value in cell.levels)
        known: list[object] = [""] * 5
        if cell.cost is not None:
            known = [cell.cost.params, cell.cost.trainable, cell.cost.macs, cell.residual, not cell.off]
        network = [
            *known,
            cell.widths,
            _blank(row.latency),
            results.device if row.latency is not None else "",
            cell.hash,
        ]
        head = [cell.name, levels, _blank(cell.stage)]
        if cell.problem:
            writer.writerow([*head, "", "inapplicable", "", "", "", cell.problem, "", "", "", "", "", *network])
            continue
        runs = {run.seed: run for run in results.of(cell.name)}
        for seed in sorted({*results.study.seeds, *runs}):
            run = runs.get(seed)
            if run is None:
                writer.writerow([*head, seed, "pending", "", _blank(base.get(seed)), "", "", 0, "", "", "", "", *network])
                continue
            metric, other = row.metrics.get(seed), base.get(seed)
            difference = "" if metric is None or other is None or cell.base else metric - other
            last = run.epochs[-1] if run.epochs else None
            losses = [last.train_loss, _blank(last.val_loss)] if last else ["", ""]
            values = [seed, run.status, _blank(metric), _blank(other), difference, run.reason, len(run.epochs), *losses]
            writer.writerow([*head, *values, run.seconds, run.device, *network])
    return sheet.getvalue()


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
