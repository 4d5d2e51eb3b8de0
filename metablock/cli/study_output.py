"""Tables of what a study plans and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tables import Head, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from ..ablation.journal import Journal
    from ..ablation.results import Results
    from ..ablation.run import Prepared


def plan_table(prepared: Prepared, jobs: int, device: str) -> None:
    """Prints a study's plan: its cells and their cost, the time it takes, the differences it can show."""
    from ..ablation.statistics import smallest_difference

    study, base = prepared.study, prepared.cells[0].cost
    assert base is not None
    heads = [
        Head("cell", "name"),
        *(Head(name, "number") for name in ("parameters", "MACs", "to the base")),
        Head("widths", "text"),
    ]
    rows = []
    for cell in prepared.cells:
        if cell.cost is None:
            rows.append((cell.name, "-", "-", "", f"cannot be built: {cell.problem}"))
            continue
        by = "params" if study.match.by == "params" else "macs"
        share = cell.cost.by(by) / base.by(by) - 1 if base.by(by) else 0.0
        off = "  (beyond the tolerance)" if cell.off else ""
        rows.append((cell.name, f"{cell.cost.params:,}", f"{cell.cost.macs:,}", f"{share:+.2%}", f"{cell.widths}{off}"))
    print_table(heads, rows)
    runs = sum(cell.spec is not None for cell in prepared.cells) * len(study.seeds)
    comparisons = max(1, sum(cell.spec is not None for cell in prepared.cells) - 1)
    print(f"\n{runs} runs of {prepared.recipe.epochs} epochs on {prepared.data.name}: {len(prepared.data.train):,} examples, "
          f"{len(prepared.data.val):,} for validation, {prepared.data.classes} classes")  # fmt: skip
    seconds = estimated(prepared, device)
    print(f"about {_duration(seconds / jobs)} with {jobs} at once on {device}")
    n = len(study.seeds)
    if n < 2:
        print("one seed shows no difference: --seeds 3 or more")
        return
    least = smallest_difference(n, 1.0, study.alpha, 0.8, comparisons)
    print(f"{n} seeds show (power 0.8, alpha {study.alpha:g} over {comparisons} comparisons) differences "
          f"from {least:.1f} times the standard deviation of paired differences: "
          f"{least * 0.5:.1f} points if that is 0.5")  # fmt: skip


def estimated(prepared: Prepared, device: str) -> float:
    """The seconds that all runs take, estimated from a few steps of the base."""
    from ..ablation.estimate import seconds_per_step

    base = prepared.cells[0]
    assert base.spec is not None
    assert base.cost is not None
    step = seconds_per_step(base.spec, prepared.data, prepared.recipe, device)
    steps = max(1, len(prepared.data.train) // prepared.recipe.batch) * prepared.recipe.epochs * len(prepared.study.seeds)
    share = sum(max(cell.cost.macs, 1) / max(base.cost.macs, 1) for cell in prepared.cells if cell.cost)
    return 1.1 * step * steps * share  # a tenth for the evaluations


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def summary(results: Results, files: list[Path]) -> None:
    """Prints the table of a report, the counts of runs, and where the report is."""
    page = next((path for path in files if path.suffix == ".md"), None)
    if page is not None:
        print(page.read_text(encoding="utf-8").rstrip())
    done = sum(run.status == "done" for run in results.runs)
    failed = sum(run.status == "failed" for run in results.runs)
    print(f"\n{done} of {len(results.runs)} runs are done" + (f", {failed} failed" if failed else ""))
    from ..ablation.report import remarks

    for line in remarks(results):
        print(line)
    html = next((path for path in files if path.suffix == ".html"), None)
    if html is not None:
        print(f"the report: {html}")


def stopped(journal: Journal) -> str:
    """What is said when a study is interrupted: how far it is, and what the same command will do."""
    counts = journal.counts()
    done, total = counts["done"] + counts["failed"], sum(counts.values())
    journal.close()
    if done == total:
        return f"stopped after the last of {total} runs, before the report; the same command writes it"
    return f"stopped: {done} of {total} runs are done; the same command goes on, with interrupted runs from their last epoch"
