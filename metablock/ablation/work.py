"""A worker process: takes runs from a journal, trains them and writes down their results, until no run is left."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from ..errors import MetablockError
from ..front import parse_input
from ..language.load import load_text
from .data import Data, load_data
from .journal import BEAT, Job, Journal, owner
from .machine import device_name
from .outside import first_line
from .probe import measured
from .recipe import Recipe
from .results import Epoch
from .training import Options, TrainingError, train

# Called after each training step with the run, its finished epochs, the steps of this epoch that are done, and all of them.
Step = Callable[[Job, int, int, int], None]


class _Orphaned(BaseException):
    """The process that started this worker has ended, or the run belongs to another owner: nothing more is written."""


def work(folder: Path, options: Options, *, parent: int | None = None, step: Step = lambda job, epoch, done, total: None) -> int:
    """Does runs of the study in a folder until none is free.

    Args:
        folder: of a journal whose plan is set.
        options: device and compilation.
        parent: id of the process that started this one; when it ends, so does this worker.
        step: called after every training step.

    Returns:
        The number of runs that were done, those that failed included.

    Raises:
        MetablockError: the data cannot be loaded, or the journal cannot be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder))
    ...     journal.set_about({"recipe": Recipe().model_dump()})  # and no plan: there is nothing to do
    ...     journal.close()
    ...     work(Path(folder), Options(device="cpu"))
    0
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
    """Does one claimed run. If it fails, the journal gets the reason and nothing is raised.

    Args:
        journal: from which the run was claimed.
        job: the run.
        who: its owner.
        recipe: how it is trained.
        data: on what.
        options: device and compilation.
        parent: as in :func:`work`.
        step: as in :func:`work`.
        probed: whether receptive fields and spectra of the trained network are stored.
    """
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
        if probed and (fields := measured(model, data)) is not None:
            journal.set_probe(job.id, fields)
        journal.finish(job.id, who, metric)
        path.unlink(missing_ok=True)
    except (TrainingError, MetablockError) as wrong:
        journal.fail(job.id, who, first_line(wrong))
    except OSError as wrong:
        journal.fail(job.id, who, f"cannot write: {wrong.strerror or wrong}")
    except Exception as wrong:  # a crash of one run is no reason to stop the others
        at = traceback.extract_tb(wrong.__traceback__)[-1]
        journal.fail(job.id, who, f"{type(wrong).__name__}: {first_line(wrong)} ({Path(at.filename).name}:{at.lineno})")


class _Beating(threading.Thread):
    """A thread that gives signs of life for one run, and sets ``lost`` when the run belongs to another owner."""

    def __init__(self, folder: Path, identity: str, who: str) -> None:
        super().__init__(daemon=True)
        self.folder, self.identity, self.who = folder, identity, who
        self.ended = threading.Event()
        self.lost = False

    def run(self) -> None:
        journal = Journal(self.folder)  # SQLite's connections belong to one thread
        while not self.ended.wait(BEAT):
            try:
                self.lost = not journal.beat(self.identity, self.who)
            except MetablockError:
                continue  # the next one may succeed
        journal.close()

    def __enter__(self) -> _Beating:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()


__all__ = ["one", "work"]
