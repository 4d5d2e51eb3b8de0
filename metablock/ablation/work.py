"""A worker: takes runs from a journal, trains them, writes down what comes out, until none is left."""

from __future__ import annotations

import os
import platform
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import MetablockError
from ..front import parse_input
from ..language.load import load_text
from .data import Data, load_data
from .journal import Job, Journal, owner
from .probe import measured
from .recipe import Recipe
from .results import Epoch
from .training import Options, TrainingError, train

_BEAT = 5.0  # seconds

Step = Callable[[Job, int, int, int], None]


class _Orphaned(BaseException):
    """The study's process is gone, or the run is another's: nothing more is written."""


def work(folder: Path, options: Options, *, parent: int | None = None, step: Step = lambda job, epoch, done, total: None) -> int:
    """Does runs of the study in this folder until none is free.

    Args:
        folder: of a journal whose plan is set.
        options: the device, compilation.
        parent: a process whose end ends this one.
        step: told of the run, the epoch and its steps.

    Returns:
        How many runs were done.
    """
    journal = Journal(folder)
    about = journal.about()
    recipe = Recipe.model_validate(about["recipe"])
    data: Data | None = None
    who, count = owner(), 0
    try:
        while (job := journal.claim(who, device_name(options.device))) is not None:
            if data is None:
                data = load_data(about["data"]["name"], parse_input(about["data"]["input"]))
            one(journal, job, who, recipe, data, options, parent, step, job.seed == about["study"]["seeds"][0])
            count += 1
    except _Orphaned:
        journal.release(who)
    finally:
        journal.close()
    return count


def one(
    journal: Journal, job: Job, who: str, recipe: Recipe, data: Data, options: Options, parent: int | None = None,
    step: Step = lambda job, epoch, done, total: None, probed: bool = False,
) -> None:  # fmt: skip
    """Does one claimed run, and looks at its trained network if it is ``probed``; what goes wrong is written down, not raised."""
    beating = _Beating(journal.folder, job.id, who)
    state = {"epoch": 0}

    def report(epoch: Epoch) -> None:
        journal.record(job.id, epoch)
        state["epoch"] = epoch.epoch

    def steps(done: int, total: int) -> None:
        if beating.lost or (parent is not None and os.getppid() != parent):
            raise _Orphaned
        step(job, state["epoch"], done, total)

    try:
        with beating:
            spec = load_text(job.spec, f"{job.cell}.yaml")
            path = journal.checkpoint(job.id)
            model, epochs = train(spec, data, recipe, job.seed, checkpoint=path, options=options, report=report, step=steps)
        metric = epochs[-1].val_top1
        assert metric is not None
        if probed and (found := measured(model, data)) is not None:
            journal.set_probe(job.id, found)
        journal.finish(job.id, who, metric)
        path.unlink(missing_ok=True)
    except (TrainingError, MetablockError) as wrong:
        journal.fail(job.id, who, str(wrong).split("\n")[0])
    except OSError as wrong:
        journal.fail(job.id, who, f"cannot write: {wrong.strerror or wrong}")
    except Exception as wrong:  # a crash of one run is no reason to stop the others
        at = traceback.extract_tb(wrong.__traceback__)[-1]
        first = (str(wrong).strip() or type(wrong).__name__).split("\n")[0]
        journal.fail(job.id, who, f"{type(wrong).__name__}: {first} ({Path(at.filename).name}:{at.lineno})")


class _Beating(threading.Thread):
    """Says every few seconds that the owner is alive, and notices when the run is another's."""

    def __init__(self, folder: Path, identity: str, who: str) -> None:
        super().__init__(daemon=True)
        self.folder, self.identity, self.who = folder, identity, who
        self.ended = threading.Event()
        self.lost = False

    def run(self) -> None:
        journal = Journal(self.folder)  # a connection is its thread's alone
        while not self.ended.wait(_BEAT):
            try:
                self.lost = not journal.beat(self.identity, self.who)
            except MetablockError:
                continue  # the next one may come through
        journal.close()

    def __enter__(self) -> _Beating:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()


def device_name(device: str) -> str:
    """A device in words."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name(torch.device(device))
    return hardware() if device == "cpu" else device


def hardware() -> str:
    """The machine's processor in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        model = ""
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    import numpy
    import torch

    from .. import __version__

    found: dict[str, Any] = {
        "metablock": __version__, "python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__
    }  # fmt: skip
    return {name: str(value) for name, value in found.items()}


__all__ = ["device_name", "hardware", "one", "versions", "work"]
