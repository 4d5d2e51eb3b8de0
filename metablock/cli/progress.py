"""What studies and trainings show while they run, and tables of what they plan and found."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from ..ablation.results import Epoch, Results, Run
    from ..ablation.run import Prepared

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 20) -> str:
    """A curve in one line, from its least to its largest value."""
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    chosen = [values[min(len(values) - 1, int(i * step))] for i in range(min(width, len(values)))]
    low, high = min(chosen), max(chosen)
    return "".join(_BLOCKS[int((value - low) / (high - low) * 7) if high > low else 3] for value in chosen)


class Bars:
    """Bars on standard error; plain lines where it is no terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.first = os.environ.get("RANK", "0") == "0"  # of several processes one speaks
        self.live = self.console.is_terminal and self.first
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[curve]}"), console=self.console, transient=True,
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}
        self.said: set[str] = set()

    def __enter__(self) -> Bars:
        if self.live:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.bars.stop()

    def say(self, line: str) -> None:
        if not self.live and self.first:
            print(line, file=sys.stderr, flush=True)

    def set(self, key: str, text: str, done: float, total: float, curve: str = "") -> None:
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(text, total=total, curve=curve)
        self.bars.update(self.tasks[key], description=text, completed=done, total=total, curve=curve)

    def drop(self, key: str) -> None:
        if key in self.tasks:
            self.bars.remove_task(self.tasks.pop(key))

    def phase(self, text: str, done: int, total: int) -> None:
        """A step of what is prepared."""
        self.set("phase", text, done, max(1, total))

    def watch(self, prepared: Prepared) -> Callable[[list[Run], dict[str, int]], None]:
        """Bars for the study and each run that is going on, with the curve of its accuracy."""
        epochs, started = prepared.recipe.epochs, time.monotonic()

        def show(runs: list[Run], counts: dict[str, int]) -> None:
            done = sum(run.status in ("done", "failed") for run in runs)
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            self.set("study", f"{prepared.study.name}: runs{failed}", done, len(runs))
            for run in runs:
                key = f"{run.cell} {run.seed}"
                accuracy = [epoch.val_top1 for epoch in run.epochs if epoch.val_top1 is not None]
                if run.status == "running":
                    last = f"{accuracy[-1]:.1f} %" if accuracy else ""
                    self.set(key, f"  {run.cell}, seed {run.seed}", len(run.epochs), epochs, f"{sparkline(accuracy)} {last}")
                else:
                    self.drop(key)
                if run.status in ("done", "failed") and key not in self.said:
                    self.said.add(key)
                    what = f"{run.metric:.2f} %" if run.metric is not None else f"failed: {run.reason}"
                    self.say(f"[{time.monotonic() - started:6.0f} s] {done}/{len(runs)} {run.cell}, seed {run.seed}: {what}")

        return show

    def training(self, epochs: int) -> tuple[Callable[[Epoch], None], Callable[[int, int], None]]:
        """What a single training tells."""
        state = {"epoch": 0}
        accuracy: list[float] = []

        def report(epoch: Epoch) -> None:
            state["epoch"] = epoch.epoch
            if epoch.val_top1 is not None:
                accuracy.append(epoch.val_top1)
            top1 = f"{epoch.val_top1:6.2f} %" if epoch.val_top1 is not None else "      -"
            number = f"epoch {epoch.epoch:>{len(str(epochs))}}/{epochs}"
            line = f"{number}  loss {epoch.train_loss:.4f}  top-1 {top1}  {epoch.seconds:.1f} s"
            self.console.print(line, highlight=False) if self.live else self.say(line)

        def step(done: int, total: int) -> None:
            self.set("training", "training", state["epoch"] + done / total, epochs, sparkline(accuracy))

        return report, step


def plan_table(prepared: Prepared, jobs: int, device: str) -> None:
    """What a study would do: its cells and their cost, the time it takes, what it can show."""
    from ..ablation.statistics import smallest_difference

    study, base = prepared.study, prepared.cells[0].cost
    assert base is not None
    table = Table(box=None, pad_edge=False)
    table.add_column("cell")
    for name in ("parameters", "MACs", "to the base", "widths"):
        table.add_column(name, justify="left" if name == "widths" else "right")
    for cell in prepared.cells:
        if cell.cost is None:
            table.add_row(cell.name, "-", "-", "", f"cannot be built: {cell.problem}")
            continue
        by = "params" if study.match.by == "params" else "macs"
        share = cell.cost.by(by) / base.by(by) - 1 if base.by(by) else 0.0
        off = "  (beyond the tolerance)" if cell.off else ""
        table.add_row(cell.name, f"{cell.cost.params:,}", f"{cell.cost.macs:,}", f"{share:+.2%}", f"{cell.widths}{off}")
    console = Console()
    console.print(table, highlight=False)
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
    """Seconds of all runs, from a few steps of the base."""
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


def summary(results: Results, written: list[Path]) -> None:
    """The table of a report, for a terminal, and where the rest is."""
    page = next((path for path in written if path.suffix == ".md"), None)
    if page is not None:
        print(page.read_text(encoding="utf-8").rstrip())
    done = sum(run.status == "done" for run in results.runs)
    failed = sum(run.status == "failed" for run in results.runs)
    print(f"\n{done} of {len(results.runs)} runs are done" + (f", {failed} failed" if failed else ""))
    html = next((path for path in written if path.suffix == ".html"), None)
    if html is not None:
        print(f"the report: {html}")
