"""Runs a study on a Ray cluster. The journal stays with the process that began it: workers send each epoch and checkpoint.

So nodes need no common file system, and what a lost node was doing goes on elsewhere from the last checkpoint that came in.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from ..errors import MetablockError, install_hint
from ..files import replacing
from .journal import Job, Journal, owner
from .results import Epoch, Run

MAX_LOST = 5  # how often a run may lose its worker before it counts as failed: it may be what kills them
_BEAT = 5.0

Watch = Callable[[list[Run], dict[str, int]], None]


@dataclass
class _Going:
    job: Job
    stream: Any
    lost: int = 0


def run_on_ray(
    journal: Journal, *, jobs: int = 0, address: str | None = None, device: str = "cpu", compiled: bool = False,
    plugins: tuple[str, ...] = (), watch: Watch = lambda runs, counts: None,
) -> None:  # fmt: skip
    """Does what is to be done, on a cluster.

    Args:
        journal: with its plan set.
        jobs: how many runs at once; 0: as many as the cluster has room for.
        address: of a cluster (``auto``: the one of this machine); without it one is started here.
        device: ``cuda``: a GPU for each run.
        compiled: whether networks are compiled.
        plugins: modules with operators; the nodes have them too.
        watch: told of the runs and their counts, several times a second.

    Raises:
        MetablockError: Ray is not installed, or there is no cluster at the address.
    """
    if importlib.util.find_spec("ray") is None:
        raise MetablockError("the executor 'ray' needs ray", install_hint("ray"))
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as wrong:
            first = str(wrong).strip().splitlines()[0]
            raise MetablockError(f"there is no Ray cluster at '{address}': {first}\n  start one: ray start --head") from None
    try:
        _Driver(journal, jobs, device, compiled, plugins).go(watch)
    finally:
        if started:
            ray.shutdown()


class _Driver:
    def __init__(self, journal: Journal, jobs: int, device: str, compiled: bool, plugins: tuple[str, ...]) -> None:
        import ray

        about = journal.about()
        self.journal, self.who = journal, owner()
        self.said = {
            "recipe": about["recipe"], "data": about["data"]["name"], "input": about["data"]["input"],
            "probed": about["study"]["seeds"][0],
            "device": device, "compiled": compiled, "plugins": plugins, "threads": about.get("threads") or 1,
        }  # fmt: skip
        if about.get("threads") is None:
            journal.set_about({"threads": 1})
        resources = ray.cluster_resources()
        room = int(resources.get("GPU", 0)) if device == "cuda" else int(resources.get("CPU", 1)) // self.said["threads"]
        self.jobs = jobs or max(1, room)
        self.task = ray.remote(num_cpus=self.said["threads"], num_gpus=int(device == "cuda"), max_retries=0)(_train)
        self.going: list[_Going] = []
        self.beaten = 0.0

    def go(self, watch: Watch) -> None:
        import ray

        try:
            while True:
                while (
                    len(self.going) < self.jobs
                    and (job := self.journal.claim(self.who, f"ray, {self.said['device']}")) is not None
                ):
                    self.going.append(_Going(job, self.start(job)))
                if not self.going and not self.journal.counts()["running"]:
                    watch(self.journal.runs(), self.journal.counts())
                    return
                for one in list(self.going):
                    self.look(one)
                self.alive()
                watch(self.journal.runs(), self.journal.counts())
                time.sleep(0.1)
        finally:
            for one in self.going:
                ray.cancel(one.stream, force=True, recursive=True)
            self.journal.release(self.who)

    def alive(self) -> None:
        if time.monotonic() - self.beaten > _BEAT:
            for one in self.going:
                self.journal.beat(one.job.id, self.who)
            self.beaten = time.monotonic()

    def start(self, job: Job) -> Any:
        path = self.journal.checkpoint(job.id)
        checkpoint = path.read_bytes() if path.exists() else None
        return self.task.options(num_returns="streaming").remote(
            {**self.said, "spec": job.spec, "cell": job.cell, "seed": job.seed}, checkpoint
        )

    def look(self, one: _Going) -> None:
        """Takes in what a run sent since the last time."""
        import ray

        while True:
            try:
                reference = one.stream._next_sync(timeout_s=0)
                if reference.is_nil():
                    return
                kind, value, checkpoint = ray.get(reference)
            except StopIteration:
                self.going.remove(one)
                if one.job.id in [identity for identity, _ in self.open()]:
                    self.journal.fail(one.job.id, self.who, "its worker ended without an answer")
                return
            except ray.exceptions.RayTaskError as wrong:
                self.going.remove(one)
                cause = wrong.cause if getattr(wrong, "cause", None) is not None else wrong
                self.journal.fail(one.job.id, self.who, f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1]}")
                return
            except ray.exceptions.RayError as wrong:  # its worker or node is gone
                one.lost += 1
                if one.lost > MAX_LOST:
                    self.going.remove(one)
                    self.journal.fail(one.job.id, self.who, f"it lost {one.lost} workers: {type(wrong).__name__}")
                    return
                one.stream = self.start(one.job)
                return
            if kind == "epoch":
                path = self.journal.checkpoint(one.job.id)
                if checkpoint is not None:
                    _write(path, checkpoint)
                self.journal.record(one.job.id, Epoch(**value))
            elif kind == "probe":
                self.journal.set_probe(one.job.id, value)
            else:
                self.going.remove(one)
                if kind == "done":
                    self.journal.finish(one.job.id, self.who, value)
                    self.journal.checkpoint(one.job.id).unlink(missing_ok=True)
                else:
                    self.journal.fail(one.job.id, self.who, value)
                return

    def open(self) -> list[tuple[str, str]]:
        return self.journal.connection.execute("SELECT id, owner FROM runs WHERE status = 'running'").fetchall()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write_bytes(content)


def _train(said: dict[str, Any], checkpoint: bytes | None) -> Iterator[tuple[str, Any, bytes | None]]:
    """On a node: trains, and yields each epoch with its checkpoint, then the metric or a reason."""
    from ..front import parse_input
    from ..language.load import load_text
    from ..language.plugins import load_plugin
    from .data import load_data
    from .probe import measured
    from .recipe import Recipe
    from .training import Options, TrainingError, train

    for plugin in said["plugins"]:
        load_plugin(plugin)
    recipe = Recipe.model_validate(said["recipe"])
    data = load_data(said["data"], parse_input(said["input"]))
    spec = load_text(said["spec"], f"{said['cell']}.yaml")
    queue: Queue[tuple[str, Any, bytes | None]] = Queue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        if checkpoint is not None:
            path.write_bytes(checkpoint)
        options = Options(said["device"], said["compiled"], said["threads"])

        def report(epoch: Epoch) -> None:
            queue.put(("epoch", asdict(epoch), path.read_bytes() if path.exists() else None))

        def go() -> None:
            try:
                model, epochs = train(spec, data, recipe, said["seed"], checkpoint=path, options=options, report=report)
                if said["seed"] == said["probed"] and (probe := measured(model, data)) is not None:
                    queue.put(("probe", probe, None))
                queue.put(("done", epochs[-1].val_top1, None))
            except (TrainingError, MetablockError) as wrong:
                queue.put(("failed", str(wrong).split("\n")[0], None))
            except BaseException as wrong:
                queue.put(("failed", f"{type(wrong).__name__}: {str(wrong).strip().split(chr(10))[0]}", None))

        Thread(target=go, daemon=True).start()
        while True:
            found = queue.get()
            yield found
            if found[0] not in ("epoch", "probe"):
                return
