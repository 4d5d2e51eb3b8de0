"""A worker process: takes runs from a journal, trains what they say and writes down their results, until no run is left."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from ..errors import MetablockError
from ..front import front, parse_input
from ..language.spec import Spec
from .checkpoint import CheckpointError
from .data import Data, load_data
from .identity import identity_of
from .journal import BEAT, Job, Journal, owner
from .machine import conditions
from .outside import first_line
from .probe import measured
from .recipe import Recipe
from .record import stored_spec
from .results import Epoch
from .store import StorageError, need_journal
from .training import Options, TrainingError, train

# Called after each training step with the run, its finished epochs, the steps of this epoch that are done, and all of them.
Step = Callable[[Job, int, int, int], None]
# How a worker process ends that stops for a reason which is none of its run: the disk, the code, the data.
STOPPED = 75


class StaleError(MetablockError):
    """What a run has to be trained with is not here: its code, its data or its operators are others by now."""


class _Orphaned(BaseException):
    """The process that started this worker has ended, or the run belongs to another owner: nothing more is written."""


class Materials:
    """What runs are trained with, as their identities say. Data are loaded once."""

    def __init__(self) -> None:
        self.data: dict[tuple[str, str], Data] = {}

    def of(self, job: Job) -> tuple[Spec, Data, Recipe]:
        """Spec, data and recipe of a run.

        Raises StaleError where a training with them would be another run: what is here is compared with the whole identity.
        """
        identity = job.identity
        try:
            recipe = Recipe.model_validate(identity.recipe)
        except ValidationError:
            raise self.stale(job, "its recipe is of another version of metablock") from None
        try:
            name, size = identity.data["name"], identity.data["input"]
        except (KeyError, TypeError):
            raise self.stale(job, "its data have no name") from None
        if (name, size) not in self.data:
            self.data[name, size] = load_data(name, parse_input(size))
        data = self.data[name, size]
        spec = stored_spec(job.spec, f"{job.cell}.yaml")
        try:
            network = front(spec, large=True)
        except MetablockError as wrong:
            raise self.stale(job, f"its network cannot be made here: {first_line(wrong)}") from None
        here = identity_of(network, data, recipe, job.seed, compiled=identity.compiled)
        different = list(identity.differences(here))
        if different:
            raise self.stale(job, "; ".join(different))
        return spec, data, recipe

    @staticmethod
    def stale(job: Job, reason: str) -> StaleError:
        """The error for a run that cannot be trained here."""
        message = f"{job.cell}, seed {job.seed} is not what was planned any more: {reason}"
        return StaleError(message, "start the same command again: it plans with what is here now")


def work(
    folder: Path, options: Options, *, plan: str | None = None, parent: int | None = None,
    step: Step = lambda job, epoch, done, total: None,
) -> int:  # fmt: skip
    """Does runs of the study in a folder until none is free.

    Args:
        folder: of a journal whose plan is set.
        options: the device and the number of threads. Whether networks are compiled is said by each run.
        plan: key of the plan whose runs are done; by default the one that was entered last.
        parent: id of the process that started this one; when it ends, so does this worker.
        step: called after every training step.

    Returns:
        The number of runs that were done, those that failed included.

    Raises:
        MetablockError: no study is in the folder; StaleError where a run cannot be trained as its identity says, or an error of
            the data; StorageError where
            the journal or a checkpoint cannot be written. The run is free again.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Journal(Path(folder)).close()  # no plan: there is nothing to do
    ...     work(Path(folder), Options(device="cpu"))
    0
    """
    need_journal(folder)
    journal = Journal(folder, plan=plan)
    who, count, materials = owner(), 0, Materials()
    where = conditions(options.device, options.threads)
    try:
        study = journal.study().get("study", {})
        seeds = study.get("seeds", []) if isinstance(study, dict) else []
        while (job := journal.claim(who, where)) is not None:
            one(journal, job, who, materials, options, parent, step, job.seed in seeds[:1])
            count += 1
    except _Orphaned:
        journal.release(who)
    except MetablockError:
        with suppress(MetablockError):
            journal.release(who)
        raise
    finally:
        journal.close()
    return count


def one(
    journal: Journal, job: Job, who: str, materials: Materials, options: Options, parent: int | None = None,
    step: Step = lambda job, epoch, done, total: None, probed: bool = False,
) -> None:  # fmt: skip
    """Does one claimed run. If it fails, the journal gets the reason and nothing is raised.

    Args:
        journal: from which the run was claimed.
        job: the run.
        who: its owner.
        materials: gives its spec, data and recipe.
        options: device and threads.
        parent: as in :func:`work`.
        step: as in :func:`work`.
        probed: whether receptive fields and spectra of the trained network are stored.

    Raises:
        MetablockError: as :func:`work`.
    """
    spec, data, recipe = materials.of(job)
    options = replace(options, compiled=job.identity.compiled)
    beating = _Beating(journal.folder, job.id, who)
    state = {"epoch": 0}

    def report(epoch: Epoch) -> None:
        journal.record(job.id, epoch)
        state["epoch"] = epoch.epoch

    def steps(done: int, total: int) -> None:
        if beating.lost or (parent is not None and os.getppid() != parent):
            raise _Orphaned
        step(job, state["epoch"], done, total)

    path = journal.checkpoint(job.id)
    try:
        with beating:
            model, epochs = train(spec, data, recipe, job.seed, checkpoint=path, options=options, report=report, step=steps)
        metric = epochs[-1].val_top1
        assert metric is not None
        if probed:
            journal.set_probe(job.id, measured(model, data))
        journal.finish(job.id, who, metric)
        path.unlink(missing_ok=True)
    except StorageError:
        raise
    except CheckpointError as wrong:
        journal.fail(job.id, who, _aside(path, wrong))
    except (TrainingError, MetablockError) as wrong:
        journal.fail(job.id, who, in_a_line(wrong))
    except Exception as wrong:  # a crash of one run is no reason to stop the others
        at = traceback.extract_tb(wrong.__traceback__)[-1]
        journal.fail(job.id, who, f"{type(wrong).__name__}: {first_line(wrong)} ({Path(at.filename).name}:{at.lineno})")


def in_a_line(wrong: BaseException) -> str:
    """A message and its hint in one line.

    >>> in_a_line(MetablockError("the step size is 0", "choose a number from 1"))
    'the step size is 0 (choose a number from 1)'
    """
    first, *rest = (str(wrong).strip() or type(wrong).__name__).splitlines()
    return f"{first} ({rest[-1].strip()})" if rest else first


def _aside(path: Path, wrong: CheckpointError) -> str:
    """Puts a checkpoint that is of no use beside, so that a further attempt starts anew. Returns the reason of the failure."""
    first = first_line(wrong)
    with suppress(OSError):
        path.replace(path.with_name(f"{path.name}.unused"))
        return f"{first} (it is now {path.name}.unused; `--retry failed` begins the run anew)"
    return in_a_line(wrong)


class _Beating(threading.Thread):
    """A thread that gives signs of life for one run, and sets ``lost`` when the run belongs to another owner."""

    def __init__(self, folder: Path, identity: str, who: str) -> None:
        super().__init__(daemon=True)
        self.folder, self.identity, self.who = folder, identity, who
        self.ended = threading.Event()
        self.lost = False

    def run(self) -> None:
        journal: Journal | None = None
        while not self.ended.wait(BEAT):
            try:
                if journal is None:  # SQLite's connections belong to one thread
                    journal = Journal(self.folder, checked=False)
                self.lost = not journal.beat(self.identity, self.who)
            except MetablockError:
                continue  # the next one may succeed
        if journal is not None:
            journal.close()

    def __enter__(self) -> _Beating:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()


__all__ = ["STOPPED", "Materials", "StaleError", "in_a_line", "one", "work"]
