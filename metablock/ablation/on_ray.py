"""Runs a study on a Ray cluster. The journal stays with the process that started the study; workers send epochs and checkpoints.

So nodes need no common file system, and the run of a lost node goes on elsewhere from the last checkpoint that it sent.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from ..errors import MetablockError
from ..files import replacing
from .journal import BEAT, Job, Journal, Watch, owner
from .outside import first_line, require
from .results import Epoch
from .store import StorageError

MAX_LOST = 5  # workers that a run may lose before it counts as failed: the run itself may be what kills them
_Message = tuple[str, Any, bytes | None]  # what a worker sends: its kind, a value, a checkpoint


@dataclass(eq=False)
class _Going:
    """A run that is going on, the stream of its worker's messages, and how many workers it has lost."""

    job: Job
    stream: Any
    lost: int = 0


def run_on_ray(
    journal: Journal, *, jobs: int = 0, address: str | None = None, device: str = "cpu",
    plugins: tuple[str, ...] = (), watch: Watch = lambda runs, counts: None,
) -> None:  # fmt: skip
    """Does the pending runs of a journal on a Ray cluster.

    Args:
        journal: with its plan set.
        jobs: number of runs at once; 0: as many as the cluster has room for.
        address: of a cluster (``auto``: the one of this machine); without it a local one is started.
        device: ``cpu``, or ``cuda`` for one GPU per run.
        plugins: modules with operators; they must be installed on the nodes.
        watch: called several times a second.

    Raises:
        MetablockError: Ray is not installed, or there is no cluster at the address.

    >>> run_on_ray(journal, jobs=8, address="auto", device="cuda")  # doctest: +SKIP
    """
    require("ray", "the executor 'ray' needs ray", "ray")
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as wrong:
            message = f"there is no Ray cluster at '{address}': {first_line(wrong)}"
            raise MetablockError(message, "start one: ray start --head") from None
    try:
        _Driver(journal, jobs, device, plugins).go(watch)
    finally:
        if started:
            ray.shutdown()


class _Driver:
    """Gives runs to the cluster and writes what comes back into the journal."""

    def __init__(self, journal: Journal, jobs: int, device: str, plugins: tuple[str, ...]) -> None:
        import ray

        self.journal, self.who = journal, owner()
        seeds = journal.study()["study"]["seeds"]
        self.common = {"probed": seeds[0], "device": device, "plugins": plugins, "threads": journal.default("threads", 1)}
        resources = ray.cluster_resources()
        room = int(resources.get("GPU", 0)) if device == "cuda" else int(resources.get("CPU", 1)) // self.common["threads"]
        self.jobs = jobs or max(1, room)
        self.task = ray.remote(num_cpus=self.common["threads"], num_gpus=int(device == "cuda"), max_retries=0)(_train)
        self.going: list[_Going] = []
        self.beaten = 0.0

    def go(self, watch: Watch) -> None:
        import ray

        try:
            while True:
                self.journal.free_silent()
                self.claim()
                if not self.going and not self.journal.counts()["running"]:
                    watch(self.journal.runs(), self.journal.counts())
                    return
                for one in list(self.going):
                    self.look(one)
                self.beat()
                watch(self.journal.runs(), self.journal.counts())
                time.sleep(0.1)
        finally:
            for one in self.going:
                ray.cancel(one.stream, force=True, recursive=True)
            with suppress(StorageError):  # they are free as soon as anyone looks: their owner is dead
                self.journal.release(self.who)

    def claim(self) -> None:
        """Starts runs as long as there is room."""
        where = {"device": f"ray, {self.common['device']}"}  # until its node says more
        while len(self.going) < self.jobs and (job := self.journal.claim(self.who, where)) is not None:
            self.going.append(_Going(job, self.start(job)))

    def beat(self) -> None:
        """Gives a sign of life for every run, if it is time for one."""
        if time.monotonic() - self.beaten > BEAT:
            for one in self.going:
                self.journal.beat(one.job.id, self.who)
            self.beaten = time.monotonic()

    def start(self, job: Job) -> Any:
        """Starts a run from its last checkpoint. Returns the stream of its messages."""
        path = self.journal.checkpoint(job.id)
        checkpoint = path.read_bytes() if path.exists() else None
        return self.task.options(num_returns="streaming").remote(
            {**self.common, "id": job.id, "spec": job.spec, "cell": job.cell, "identity": job.identity.to_json()}, checkpoint
        )

    def look(self, one: _Going) -> None:
        """Takes in the messages that a run has sent since the last look."""
        import ray

        while one in self.going:
            try:
                reference = one.stream._next_sync(timeout_s=0)
                if reference.is_nil():
                    return
                self.take(one, *ray.get(reference))
            except StopIteration:
                self.fail(one, "its worker ended without an answer")
            except ray.exceptions.RayTaskError as wrong:
                cause = wrong.cause if getattr(wrong, "cause", None) is not None else wrong
                self.fail(one, f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1]}")
            except ray.exceptions.RayError as wrong:  # its worker or node has died
                one.lost += 1
                if one.lost > MAX_LOST:
                    self.fail(one, f"it lost {one.lost} workers: {type(wrong).__name__}")
                else:
                    one.stream = self.start(one.job)
                return

    def take(self, one: _Going, kind: str, value: Any, checkpoint: bytes | None) -> None:
        """Writes one message of a run into the journal."""
        identity = one.job.id
        if kind == "epoch":
            if checkpoint is not None:
                _write(self.journal.checkpoint(identity), checkpoint)
            self.journal.record(identity, Epoch(**value))
        elif kind == "probe":
            self.journal.set_probe(identity, value)
        elif kind == "conditions":
            self.journal.set_conditions(identity, self.who, value)
        elif kind == "done":
            self.going.remove(one)
            self.journal.finish(identity, self.who, value)
            self.journal.checkpoint(identity).unlink(missing_ok=True)
        else:
            self.fail(one, value)

    def fail(self, one: _Going, reason: str) -> None:
        self.going.remove(one)
        self.journal.fail(one.job.id, self.who, reason)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write_bytes(content)


def _train(task: dict[str, Any], checkpoint: bytes | None) -> Iterator[_Message]:
    """On a node: trains, and yields ``conditions``, ``epoch`` messages with checkpoints, perhaps a ``probe``, then ``done`` or
    ``failed``."""
    from ..language.plugins import load_plugin
    from .identity import Identity
    from .machine import conditions
    from .probe import measured
    from .training import Options, TrainingError, train
    from .work import Materials, in_a_line

    for plugin in task["plugins"]:
        load_plugin(plugin)
    identity = Identity.from_json(task["identity"])
    try:
        spec, data, recipe = Materials().of(Job(task["id"], task["cell"], identity.seed, task["spec"], identity))
    except MetablockError as wrong:
        yield "failed", in_a_line(wrong), None
        return
    yield "conditions", conditions(task["device"], task["threads"]), None
    queue: Queue[_Message] = Queue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        if checkpoint is not None:
            path.write_bytes(checkpoint)
        options = Options(task["device"], identity.compiled, task["threads"])

        def report(epoch: Epoch) -> None:
            queue.put(("epoch", asdict(epoch), path.read_bytes() if path.exists() else None))

        def go() -> None:
            try:
                model, epochs = train(spec, data, recipe, identity.seed, checkpoint=path, options=options, report=report)
                if identity.seed == task["probed"]:
                    queue.put(("probe", measured(model, data), None))
                queue.put(("done", epochs[-1].val_top1, None))
            except (TrainingError, MetablockError) as wrong:
                queue.put(("failed", in_a_line(wrong), None))
            except BaseException as wrong:
                queue.put(("failed", f"{type(wrong).__name__}: {first_line(wrong)}", None))

        Thread(target=go, daemon=True).start()
        while True:
            message = queue.get()
            yield message
            if message[0] in ("done", "failed"):
                return
