"""Runs a study on this machine, in worker processes.

The steps of a study are functions of other modules. The command line finds all of them here: :func:`prepare`, :func:`enter`,
:func:`run`, :func:`measure` and :func:`results`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch

from ..errors import MetablockError
from .journal import Journal, Watch
from .prepare import Prepared, enter, prepare, prepare_search
from .record import results, results_of
from .store import StorageError, full
from .timing import measure
from .work import STOPPED

__all__ = ["Engine", "Prepared", "enter", "measure", "prepare", "prepare_search", "results", "results_of", "run"]

_STARTING = 20.0  # seconds within which a worker that ends without a run counts as one that cannot start
_LOOK = 0.3  # seconds between two looks at the workers


@dataclass
class _Worker:
    slot: int
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    written: int  # bytes of the log before it


@dataclass
class Engine:
    """How runs are done on this machine.

    Attributes:
        jobs: number of workers; each does one run at a time. With ``cuda`` they share the GPUs out among themselves.
        device: ``cpu``, ``cuda``, ``mps``.
        plugins: modules with operators, which workers load too.
        workers: the processes that are alive.
    """

    jobs: int = 1
    device: str = "cpu"
    plugins: tuple[str, ...] = ()
    workers: list[_Worker] = field(default_factory=list, repr=False)


def run(journal: Journal, engine: Engine, watch: Watch = lambda runs, counts: None) -> None:
    """Does the pending runs of a journal in worker processes. The death of a worker fails its run and no other.

    Args:
        journal: whose plan's runs are done; those of other plans in the same file are left to others.
        engine: says how many workers there are, and on which device they work. It is used by one call at a time.
        watch: called a few times a second.

    Raises:
        MetablockError: workers cannot start, or stop for a reason that is none of their runs' (the disk is full, the data or the
            code have changed). Their runs are pending again.
        KeyboardInterrupt: the user or the system ended the study; workers have ended, and their runs are pending again.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder))
    ...     run(journal, Engine(jobs=2), watch=lambda runs, counts: print(counts))  # nothing is planned
    ...     journal.close()
    {'pending': 0, 'running': 0, 'done': 0, 'failed': 0}
    """
    # Stored once: with another number of threads sums round otherwise.
    threads = journal.default("threads", max(1, (os.cpu_count() or 1) // max(1, engine.jobs)))
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while True:
            journal.free_silent()
            counts = journal.counts()
            _collect(journal, engine)
            _start_missing(journal, engine, counts["pending"], threads)
            watch(journal.runs(), counts)
            if not engine.workers and not counts["pending"] and not counts["running"]:  # running: in other processes
                return
            time.sleep(_LOOK)
    finally:
        _end(journal, engine)
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _collect(journal: Journal, engine: Engine) -> None:
    """Takes ended workers from the list and fails the runs that they did not finish."""
    for worker in list(engine.workers):
        code = worker.process.poll()
        if code is None:
            continue
        engine.workers.remove(worker)
        lost = journal.owned_by(worker.process.pid)
        if code == STOPPED:
            for _, who in lost:
                journal.release(who)
            raise _stopped(worker, journal.folder)
        for identity, who in lost:
            journal.fail(identity, who, _reason(code, worker.log))
        if code != 0 and not lost and time.time() - worker.started < _STARTING:
            raise MetablockError(f"a worker cannot start: {_last_line(worker.log)}", f"its whole output is in {worker.log}")


def _start_missing(journal: Journal, engine: Engine, pending: int, threads: int) -> None:
    """Starts a worker in each free slot, as long as there are runs for them."""
    busy = {worker.slot for worker in engine.workers}
    free = [slot for slot in range(engine.jobs) if slot not in busy]
    if free:
        for slot in free[: pending + journal.abandoned()]:
            engine.workers.append(_start(journal, engine, slot, threads))


def _start(journal: Journal, engine: Engine, slot: int, threads: int) -> _Worker:
    folder = journal.folder
    log = folder / "logs" / f"worker-{slot}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("ab")
    except OSError as wrong:
        raise StorageError(f"{log}: cannot write there: {wrong.strerror}", "make room there, and start again") from None
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if engine.device == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = _gpu(slot, torch.cuda.device_count())
    command = [sys.executable, "-m", "metablock", "work", str(folder), "--device", engine.device]
    command += ["--threads", str(threads), "--parent", str(os.getpid()), "--plan", journal.plan]
    for plugin in engine.plugins:
        command += ["--plugin", plugin]
    with file:
        written = file.tell()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    return _Worker(slot, process, log, time.time(), written)


def _end(journal: Journal, engine: Engine) -> None:
    """Ends all workers and frees their runs."""
    for worker in engine.workers:
        worker.process.terminate()
    for worker in engine.workers:
        try:
            worker.process.wait(10)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        with suppress(StorageError):  # they are free as soon as anyone looks: their owner is dead
            for _, who in journal.owned_by(worker.process.pid):
                journal.release(who)
    engine.workers.clear()


def _stopped(worker: _Worker, folder: Path) -> MetablockError:
    """The error for a worker that stopped for a reason which is none of its run: its own message."""
    with suppress(OSError):
        text = worker.log.read_bytes()[worker.written :].decode(errors="replace")
        message, _, hint = text.strip().rpartition("\n")
        if message or hint:
            return StorageError(message.strip() or hint.strip(), hint.strip() if message else None)
    if full(folder):
        return StorageError(f"{folder}: the disk is full", "nothing is lost; make room, and give the same command again")
    return StorageError(f"{folder}: a worker cannot write there", "nothing is lost; give the same command again")


def _gpu(slot: int, count: int) -> str:
    """The GPU of a worker, among those that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name for name in allowed.split(",") if name] if allowed else [str(i) for i in range(count)]
    if not names:
        raise MetablockError("there is no GPU here", "leave out --device cuda")
    return names[slot % len(names)]


def _reason(code: int, log: Path) -> str:
    """Why a worker ended, from its exit code and the last line of its output."""
    if code < 0:
        cause = ", most likely for want of memory" if -code == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{cause}"
    return f"its process ended with status {code}: {_last_line(log)}"


def _last_line(log: Path) -> str:
    if not log.exists():
        return "it printed nothing"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it printed nothing"
