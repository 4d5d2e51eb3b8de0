"""Compares the results of a study and puts them in order: the numbers behind its tables and figures."""

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
    """A cell and its results.

    Attributes:
        cell: the network.
        label: its name within its group.
        metrics: top-1 of the finished runs by seed, per cent.
        failed: the runs that ended without a result.
        comparison: with the base; None for the base itself and for a cell that cannot be built.
        latency: milliseconds; None if it was not measured.
    """

    cell: Cell
    label: str
    metrics: Mapping[int, float]
    failed: Sequence[Run] = ()
    comparison: Comparison | None = None
    latency: float | None = None

    @property
    def title(self) -> str:
        """The label, with a dagger if the cost could not be matched."""
        return self.label + (" †" if self.cell.off else "")

    @property
    def mean(self) -> float | None:
        """Mean top-1 over the seeds, per cent."""
        return fmean(self.metrics.values()) if self.metrics else None

    @property
    def sd(self) -> float | None:
        """Standard deviation of top-1 over the seeds (n − 1), per cent; None for fewer than two."""
        return stdev(self.metrics.values()) if len(self.metrics) > 1 else None

    @property
    def difference(self) -> float | None:
        """Mean paired difference to the base, in points."""
        return self.comparison.paired.difference if self.comparison and self.comparison.paired.n else None


@dataclass(frozen=True)
class Analysis:
    """A study's results, compared.

    Attributes:
        results: as they come from the journal.
        margin: the smallest difference that matters, in points.
        groups: rows by factor; the base stands first, under the empty name.
        planned: number of runs that can be made.
        done: number of runs with a result.
        failed: number of runs that failed.
        missing: what a reader of an unfinished study must know, in sentences.
    """

    results: Results
    margin: float
    groups: Mapping[str, Sequence[VariantRow]]
    planned: int
    done: int
    failed: int
    missing: Sequence[str] = field(default_factory=tuple)

    @property
    def rows(self) -> list[VariantRow]:
        """All rows, in the order of the groups."""
        return [row for rows in self.groups.values() for row in rows]

    @property
    def base(self) -> VariantRow | None:
        """The row of the base."""
        return next((row for row in self.rows if row.cell.base), None)

    @property
    def compared(self) -> list[tuple[VariantRow, Comparison]]:
        """The comparisons that Holm's correction counts."""
        return [(row, row.comparison) for row in self.rows if row.comparison is not None]

    @property
    def complete(self) -> bool:
        """Whether all runs have ended, with a result or without."""
        return self.done + self.failed >= self.planned

    @property
    def spread(self) -> float | None:
        """Median standard deviation of the paired differences over the comparisons, in points."""
        deviations = [comparison.paired.sd for _, comparison in self.compared if comparison.paired.p_difference is not None]
        return median(deviations) if deviations else None

    @property
    def smallest(self) -> float | None:
        """The smallest true difference that the study's seeds detect with a power of 80 % at this spread, in points."""
        study = self.results.study
        if self.spread is None:
            return None
        difference = smallest_difference(len(study.seeds), self.spread, study.alpha, 0.8, len(self.compared))
        return difference if isfinite(difference) else None

    def relative(self, row: VariantRow, what: str) -> float | None:
        """A cost (``params``, ``trainable``, ``macs``, ``latency``) relative to the base's: 0.1 is 10 % more."""
        base = self.base
        mine, its = (None, None) if base is None else (cost(row, what), cost(base, what))
        return mine / its - 1 if mine is not None and its else None


def base_name(study: Study) -> str:
    """What captions call the base: its name in the catalogue, or its file without the folder; and its variant."""
    name = PurePath(study.base).name if study.base.endswith((".yaml", ".yml")) else study.base
    return f"{name} ({study.variant})" if study.variant else name


def tolerance(study: Study) -> str:
    """The tolerance of the match: ``±5 %``."""
    return f"±{100 * study.match.tolerance:g} %"


def cost(row: VariantRow, what: str) -> float | None:
    """One cost of a cell (``params``, ``trainable``, ``macs``, ``latency``); None if it is unknown."""
    if what == "latency":
        return row.latency
    return None if row.cell.cost is None else float(getattr(row.cell.cost, what))


def analyse(results: Results) -> Analysis:
    """Compares every cell of a study with its base.

    >>> from metablock.ablation.results import Run
    >>> cells = [Cell("base", (), None, "", None), Cell("token = dw(7)", (("token", "dw(7)"),), None, "", None)]
    >>> runs = [Run("base", seed, "done", 90 + seed / 10) for seed in range(3)]
    >>> runs += [Run("token = dw(7)", seed, "done", 95 + seed / 8) for seed in range(3)]
    >>> [(row.label, row.comparison.verdict) for row in analyse(Results(Study("s", "b"), cells, runs)).rows[1:]]
    [('dw(7)', 'better')]
    """
    study = results.study
    margin = 100 * study.margin  # the study's margin is a share, the metric is in per cent
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
    """Group and label of a cell: its factor and level; in a grid of several factors the first level, and the others."""
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
    """Remarks on one row: what cannot be built, was not matched, failed, or could not be tested."""
    study, cell = analysis.results.study, row.cell
    if cell.problem:
        return [f"inapplicable: {cell.problem}"]
    remarks = []
    if cell.off:
        remarks.append(f"not matched: {per_cent(cell.residual)} {NAMES[study.match.by]}, tolerance {tolerance(study)}")
    remarks += [f"seed {run.seed} failed: {run.reason or 'no reason was recorded'}" for run in row.failed]
    unfinished = len(study.seeds) - len(row.metrics) - len(row.failed)
    if unfinished > 0:
        remarks.append(f"{len(row.metrics)} of {len(study.seeds)} seeds finished")
    if row.comparison is not None:
        paired = row.comparison.paired
        if paired.note and row.metrics:
            remarks.append(paired.note)
        if row.comparison.within:
            remarks.append("differs from the base, but by less than the margin")
    return remarks


def method(analysis: Analysis) -> list[str]:
    """The tests in words, for the foot of a table."""
    study = analysis.results.study
    return [
        f"{METRIC.capitalize()} accuracy (%) on the validation set after the last epoch, mean ± s.d. over n seeds; "
        f"Δ: mean difference to the base over common seeds, in {POINTS}.",
        f"Better, worse: two-sided paired t test. Equivalent: two one-sided paired t tests against ±{analysis.margin:g} "
        f"{POINTS}. Each corrected by Holm for {len(analysis.compared)} comparisons, family-wise error {study.alpha:g}. "
        "Intervals have the level at which the verdict was reached. Undecided does not mean equal.",
    ]
