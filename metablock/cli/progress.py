"""What verbs of training show while they run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from ..ablation.results import Epoch, Run
    from ..ablation.run import Prepared

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 20) -> str:
    """A curve in one line of blocks, from its smallest to its largest value.

    >>> sparkline([1.0, 2.0, 3.0, 8.0])
    '▁▂▃█'
    """
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    points = [values[min(len(values) - 1, int(i * step))] for i in range(min(width, len(values)))]
    low, high = min(points), max(points)
    return "".join(_BLOCKS[int((value - low) / (high - low) * 7) if high > low else 3] for value in points)


class Bars:
    """Progress bars on standard error; plain lines where that is no terminal. A context manager."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.first = os.environ.get("RANK", "0") == "0"  # of several processes, one prints
        self.live = self.console.is_terminal and self.first
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[curve]}"), console=self.console, transient=True,
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}
        self.reported: set[str] = set()  # the runs whose end is printed

    def __enter__(self) -> Bars:
        if self.live:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.bars.stop()

    def say(self, line: str) -> None:
        """Prints a line where there are no bars."""
        if not self.live and self.first:
            print(line, file=sys.stderr, flush=True)

    def set(self, key: str, text: str, done: float, total: float, curve: str = "") -> None:
        """Draws a bar, or moves it: ``done`` of ``total``."""
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(text, total=total, curve=curve)
        self.bars.update(self.tasks[key], description=text, completed=done, total=total, curve=curve)

    def drop(self, key: str) -> None:
        """Removes a bar, if it is there."""
        if key in self.tasks:
            self.bars.remove_task(self.tasks.pop(key))

    def phase(self, text: str, done: int, total: int) -> None:
        """A step of the preparation."""
        self.set("phase", text, done, max(1, total))

    def watch(self, prepared: Prepared) -> Callable[[list[Run], dict[str, int]], None]:
        """A callback that draws a study's bar, and one for each current run with the curve of its accuracy."""
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
                if run.status in ("done", "failed") and key not in self.reported:
                    self.reported.add(key)
                    what = f"{run.metric:.2f} %" if run.metric is not None else f"failed: {run.reason}"
                    self.say(f"[{time.monotonic() - started:6.0f} s] {done}/{len(runs)} {run.cell}, seed {run.seed}: {what}")

        return show

    def training(self, epochs: int) -> tuple[Callable[[Epoch], None], Callable[[int, int], None]]:
        """Two callbacks of a single training: one prints an epoch, the other moves the bar within it."""
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
