"""What verbs of training found, as data for ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report.study_models import (
    CellRow,
    EpochRow,
    ResultRow,
    SearchReport,
    StudyPlan,
    StudyReport,
    TrainReport,
    TrialRow,
)

if TYPE_CHECKING:
    from ..ablation.dataset import Data
    from ..ablation.plan import Cell
    from ..ablation.recipe import Recipe
    from ..ablation.report.analysis import VariantRow
    from ..ablation.results import Epoch, Results
    from ..ablation.run import Prepared
    from ..ablation.search import Trial
    from ..language.spec import Spec


def plan_answer(prepared: Prepared, seconds: float) -> StudyPlan:
    """A study's plan; ``seconds``: the estimate of what its runs take."""
    from ..ablation.statistics import smallest_difference

    study, data = prepared.study, prepared.data
    built = sum(cell.spec is not None for cell in prepared.cells)
    n = len(study.seeds)
    return StudyPlan(
        name=study.name,
        cells=tuple(CellRow(**_cell(cell)) for cell in prepared.cells),
        runs=built * n,
        epochs=prepared.recipe.epochs,
        data=data.name,
        train_examples=len(data.train),
        val_examples=len(data.val),
        classes=data.classes,
        seeds=tuple(study.seeds),
        seconds=seconds,
        smallest=_finite(smallest_difference(n, 1.0, study.alpha, 0.8, max(1, built - 1))) if n > 1 else None,
    )


def study_answer(results: Results, files: Sequence[Path]) -> StudyReport:
    """What a study found, and the files of its report."""
    from ..ablation.report import analyse, remarks
    from ..ablation.report.analysis import notes

    analysis, study = analyse(results), results.study
    return StudyReport(
        name=study.name,
        base=study.base,
        variant=study.variant,
        alpha=study.alpha,
        margin=analysis.margin,
        planned=analysis.planned,
        done=analysis.done,
        failed=analysis.failed,
        complete=analysis.complete,
        rows=tuple(_result(row, notes(analysis, row)) for row in analysis.rows),
        missing=tuple(analysis.missing),
        remarks=tuple(remarks(results)),
        files=tuple(map(str, files)),
    )


def search_answer(
    name: str, objectives: Sequence[str], front: Sequence[Trial], every: Sequence[Trial], folder: Path
) -> SearchReport:
    """What a search found."""
    best = [trial.name for trial in front]
    others = [trial for trial in every if trial.name not in best]
    rows = [
        TrialRow(**{**_cell(trial.cell), "name": trial.name}, values=dict(trial.values), front=trial.name in best)
        for trial in [*front, *others]
    ]
    return SearchReport(name=name, objectives=tuple(objectives), trials=tuple(rows), folder=str(folder))


def train_answer(
    network: Spec, data: Data, recipe: Recipe, seed: int, epochs: Sequence[Epoch], *, checkpoint: str | None, written: str | None
) -> TrainReport:
    """What a training did."""
    rows = tuple(
        EpochRow(
            epoch=epoch.epoch,
            train_loss=_finite(epoch.train_loss),
            val_loss=_finite(epoch.val_loss),
            top1=_finite(epoch.val_top1),
            lr=epoch.lr,
            seconds=epoch.seconds,
        )
        for epoch in epochs
    )
    return TrainReport(
        name=network.name,
        variant=network.variant,
        data=data.name,
        input="x".join(map(str, (data.input.c, *data.input.grid))),
        classes=data.classes,
        recipe=recipe.model_dump(mode="json"),
        seed=seed,
        epochs=rows,
        top1=rows[-1].top1 if rows else None,
        checkpoint=checkpoint,
        written=written,
    )


def _cell(cell: Cell) -> dict[str, Any]:
    cost = cell.cost
    return {
        "name": cell.name,
        "levels": dict(cell.levels),
        "base": cell.base,
        "parameters": cost.params if cost else None,
        "trainable": cost.trainable if cost else None,
        "macs": cost.macs if cost else None,
        "widths": cell.widths,
        "residual": cell.residual,
        "off": cell.off,
        "problem": cell.problem or None,
    }


def _result(row: VariantRow, notes: Sequence[str]) -> ResultRow:
    compared = row.comparison
    return ResultRow(
        **_cell(row.cell),
        seeds={str(seed): metric for seed, metric in sorted(row.metrics.items())},
        failed={str(run.seed): run.reason for run in row.failed},
        mean=row.mean,
        sd=row.sd,
        latency=row.latency,
        difference=row.difference,
        verdict=compared.verdict if compared else None,
        p_difference=compared.p_difference if compared else None,
        p_equivalence=compared.p_equivalence if compared else None,
        interval=compared.interval if compared else None,
        level=compared.level if compared and compared.interval else None,
        notes=tuple(notes),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
