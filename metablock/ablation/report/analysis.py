"""What tables and figures show: results, compared and in order, still as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import PurePath
from statistics import fmean, median, stdev

from ..plan import Cell
from ..results import Results, Run
from ..statistics import Comparison, compare, judge, smallest_difference
from ..study import Study
from .text import NAMES, per_cent

METRIC = "top-1"  # accuracy on the validation set after the last epoch
POINTS = "points"  # differences of per cents


@dataclass(frozen=True)
class VariantRow:
    """A cell with what is known of it.

    Attributes:
        label: what it is called within its group.
        metrics: top-1 of the finished runs by seed, per cent.
        failed: the runs that ended without a result.
        comparison: with the base; None for the base itself and for a cell that cannot be built.
        latency: milliseconds, where it was measured.
    """

    cell: Cell
    label: str
    metrics: Mapping[int, float]
    failed: Sequence[Run] = ()
    comparison: Comparison | None = None
    latency: float | None = None

    @property
    def mean(self) -> float | None:
        return fmean(self.metrics.values()) if self.metrics else None

    @property
    def sd(self) -> float | None:
        return stdev(self.metrics.values()) if len(self.metrics) > 1 else None

    @property
    def difference(self) -> float | None:
        """Mean paired difference to the base, in points."""
        return self.comparison.paired.difference if self.comparison and self.comparison.paired.n else None


@dataclass(frozen=True)
class Analysis:
    """Everything that is shown. ``margin`` is in points; ``groups`` are the rows by factor, the base first, under ''."""

    results: Results
    margin: float
    groups: Mapping[str, Sequence[VariantRow]]
    planned: int
    done: int
    failed: int
    missing: Sequence[str] = field(default_factory=tuple)

    @property
    def rows(self) -> list[VariantRow]:
        return [row for rows in self.groups.values() for row in rows]

    @property
    def base(self) -> VariantRow | None:
        return next((row for row in self.rows if row.cell.base), None)

    @property
    def compared(self) -> list[tuple[VariantRow, Comparison]]:
        """The comparisons that Holm's correction counts."""
        return [(row, row.comparison) for row in self.rows if row.comparison is not None]

    @property
    def complete(self) -> bool:
        """All runs have ended, well or not."""
        return self.done + self.failed >= self.planned

    @property
    def spread(self) -> float | None:
        """The middle one of the standard deviations of the paired differences, in points: what a next study can reckon with."""
        found = [comparison.paired.sd for _, comparison in self.compared if comparison.paired.p_difference is not None]
        return median(found) if found else None

    @property
    def smallest(self) -> float | None:
        """The true difference in points that so many seeds show with a power of 80 %, at this spread."""
        study = self.results.study
        if self.spread is None:
            return None
        found = smallest_difference(len(study.seeds), self.spread, study.alpha, 0.8, len(self.compared))
        return found if isfinite(found) else None

    def relative(self, row: VariantRow, what: str) -> float | None:
        """How far a cost (``params``, ``trainable``, ``macs``, ``latency``) is from that of the base: 0.1 is 10 % more."""
        base = self.base
        mine, its = (None, None) if base is None else (cost(row, what), cost(base, what))
        return mine / its - 1 if mine is not None and its else None


def base_name(study: Study) -> str:
    """What captions call the base: a name of the catalogue, or of a file without its folder."""
    name = PurePath(study.base).name if study.base.endswith((".yaml", ".yml")) else study.base
    return f"{name} ({study.variant})" if study.variant else name


def cost(row: VariantRow, what: str) -> float | None:
    """One cost of a cell, None where it is not known."""
    if what == "latency":
        return row.latency
    return None if row.cell.cost is None else float(getattr(row.cell.cost, what))


def analyse(results: Results) -> Analysis:
    """Compares every cell with the base and puts the rows in order."""
    study = results.study
    margin = 100 * study.margin  # the study gives a part of 1, the metric is in per cent
    metrics = {cell.name: _metrics(results.of(cell.name)) for cell in results.cells}
    base = next((cell.name for cell in results.cells if cell.base), None)
    pairs = {
        cell.name: compare(metrics[base] if base else {}, metrics[cell.name], margin)
        for cell in results.cells
        if not cell.base and not cell.problem
    }
    comparisons = judge(pairs, study.alpha)
    groups: dict[str, list[VariantRow]] = {}
    for cell in results.cells:
        group, label = _place(cell)
        failed = [run for run in results.of(cell.name) if run.status == "failed"]
        row = VariantRow(cell, label, metrics[cell.name], failed, comparisons.get(cell.name), results.latency.get(cell.name))
        groups.setdefault(group, []).append(row)
    rows = [row for rows in groups.values() for row in rows]
    planned = sum(not row.cell.problem for row in rows) * len(study.seeds)
    done, lost = sum(len(row.metrics) for row in rows), sum(len(row.failed) for row in rows)
    return Analysis(results, margin, groups, planned, done, lost, tuple(_missing(rows, study.seeds)))


def _metrics(runs: Sequence[Run]) -> dict[int, float]:
    return {run.seed: run.metric for run in runs if run.status == "done" and run.metric is not None and isfinite(run.metric)}


def _place(cell: Cell) -> tuple[str, str]:
    """The group of a cell and its name within: by factor; in a grid of several factors by the level of the first."""
    if cell.base:
        return "", cell.name
    if len(cell.levels) == 1:
        return cell.levels[0]
    (factor, level), *rest = cell.levels
    return f"{factor} = {level}", ", ".join(f"{name} = {value}" for name, value in rest)


def _missing(rows: Sequence[VariantRow], seeds: Sequence[int]) -> Iterator[str]:
    """What a reader of an unfinished study must know, in sentences."""
    base = next((row for row in rows if row.cell.base), None)
    if base is None or not base.metrics:
        yield "No run of the base has finished: nothing can be compared yet."
    elif len(base.metrics) < 2:
        yield "One run of the base has finished: differences have no interval and no test yet."
    open_ = [
        f"{row.cell.name} ({len(row.metrics)} of {len(seeds)})"
        for row in rows
        if not row.cell.problem and len(row.metrics) + len(row.failed) < len(seeds)
    ]
    if open_:
        yield f"Not finished: {'; '.join(open_)}."


def notes(analysis: Analysis, row: VariantRow) -> list[str]:
    """What must be said of one row, in words: what does not fit, failed, was not matched or could not be tested."""
    study, cell = analysis.results.study, row.cell
    if cell.problem:
        return [f"inapplicable: {cell.problem}"]
    found = []
    if cell.off:
        found.append(
            f"not matched: {per_cent(cell.residual)} {NAMES[study.match.by]}, tolerance ±{100 * study.match.tolerance:g} %"
        )
    found += [f"seed {run.seed} failed: {run.reason or 'no reason was recorded'}" for run in row.failed]
    unfinished = len(study.seeds) - len(row.metrics) - len(row.failed)
    if unfinished > 0:
        found.append(f"{len(row.metrics)} of {len(study.seeds)} seeds finished")
    if row.comparison is not None:
        paired = row.comparison.paired
        if paired.note and row.metrics:
            found.append(paired.note)
        if row.comparison.within:
            found.append("differs from the base, but by less than the margin")
    return found


def method(analysis: Analysis) -> list[str]:
    """The tests in sentences, for the foot of a table."""
    study = analysis.results.study
    return [
        f"{METRIC.capitalize()} accuracy (%) on the validation set after the last epoch, mean ± s.d. over n seeds; "
        f"Δ: mean difference to the base over common seeds, in {POINTS}.",
        f"Better, worse: two-sided paired t test. Equivalent: two one-sided paired t tests against ±{analysis.margin:g} "
        f"{POINTS}. Each corrected by Holm for {len(analysis.compared)} comparisons, family-wise error {study.alpha:g}. "
        "Intervals have the level at which the verdict was reached. Undecided does not mean equal.",
    ]
