"""Kills a study again and again, at random moments, and compares every number with those of a study that was left alone.

Run as a program: ``python soak.py FOLDER kills NUMBER SEED``, ``... two`` (two commands with different recipes on one folder at once),
``... full DISK`` (a small disk under the journal that has no room). Processes are forked from one that has imported torch: a start costs
milliseconds. Processes that hold a connection of SQLite do not fork; each command has a launcher that does, from before it opened any.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import accelerate  # noqa: F401 (every child needs it)
import numpy as np
import torch

from metablock.ablation import run as running
from metablock.ablation.prepare import Prepared, enter, prepare
from metablock.ablation.record import results_of
from metablock.ablation.study_file import load_study_text
from metablock.ablation.training import Options
from metablock.ablation.work import STOPPED, work

SPEC = """\
name: mini
input: image(1, 8)
classes: 3
let:
  token: pool(3)
stem: conv(8, 2, stride=2)
stages:
  depth: 1
  drop: 0.1
  body: depth * res(group_norm(1) >> token) >> res(dropout(0.1) >> mlp(1))
head: global_pool >> linear(classes)
"""
STUDY = """\
study: soak
base: mini.yaml
factors: {token: [dw(3)]}
data: npz:data.npz
recipe: {of: small, epochs: 5, batch: 16, ema: 0.5, shift: 1}
seeds: 2
"""
NUMBERS = "SELECT cell, seed, epoch, train_loss, val_loss, val_top1, lr FROM epochs JOIN wanted USING (id) ORDER BY 1, 2, 3"
METRICS = "SELECT cell, seed, status, metric FROM runs JOIN wanted USING (id) ORDER BY 1, 2"


class Launcher:
    """A process that forks workers for a command, and goes when the command goes."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            self.ours.close()
            _serve(theirs)
        theirs.close()
        self.file = self.ours.makefile("rw")

    def ask(self, *words: object) -> int | None:
        self.file.write(json.dumps(words) + "\n")
        self.file.flush()
        answer: int | None = json.loads(self.file.readline())
        return answer


def _serve(connection: socket.socket) -> None:
    """Starts workers and says how they ended, until the command is gone."""
    codes: dict[int, int] = {}
    with suppress(ConnectionError):
        file = connection.makefile("rw")
        while line := file.readline():
            what, *words = json.loads(line)
            if what == "start":
                answer: int | None = os.fork()
                if not answer:
                    connection.close()
                    _worker(Path(words[0]), words[1])
            else:
                with suppress(ChildProcessError):
                    pid, status = os.waitpid(words[0], os.WNOHANG)
                    if pid:
                        codes[pid] = os.waitstatus_to_exitcode(status)
                answer = codes.get(words[0])
            file.write(json.dumps(answer) + "\n")
            file.flush()
    os._exit(0)


def _worker(folder: Path, plan: str) -> None:
    _forked(lambda: work(folder, Options(threads=1), plan=plan, parent=os.getppid()))


class Forked:
    """A worker, with what :mod:`metablock.ablation.run` asks of a process."""

    def __init__(self, launcher: Launcher, folder: Path, plan: str) -> None:
        self.launcher = launcher
        self.pid = launcher.ask("start", str(folder), plan) or 0

    def poll(self) -> int | None:
        return self.launcher.ask("poll", self.pid)

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    kill = terminate

    def wait(self, timeout: float = 10) -> None:
        while self.poll() is None:
            time.sleep(0.01)


def _forked(do: Callable[[], object]) -> None:
    """Does something in a forked process, which ends with it."""
    try:
        do()
        os._exit(0)
    except BaseException as wrong:
        with open("errors", "a") as file:  # of the working directory, which is on no small disk
            file.write(f"{type(wrong).__name__}: {wrong}\n")
        os._exit(STOPPED)


def command(prepared: Prepared, folder: Path) -> int:
    """Starts what ``metablock ablate`` does, as a process group of its own. Returns its id."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    launcher = Launcher()

    def start(journal: running.Journal, engine: running.Engine, slot: int, threads: int) -> object:
        log = journal.folder / "worker.log"
        return running._Worker(slot, Forked(launcher, journal.folder, journal.plan), log, time.time(), 0)  # type: ignore[arg-type]

    running._start = start  # type: ignore[assignment]
    running._LOOK = 0.02

    def study() -> None:
        journal = enter(prepared, folder)
        journal.retry_failed()  # a run whose worker was killed has failed
        running.run(journal, running.Engine(jobs=2))
        journal.close()

    _forked(study)
    return 0


def ended(pid: int) -> int | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def workers(folder: Path) -> list[int]:
    """The processes that the journal names as owners."""
    if not (folder / "journal.sqlite").exists():  # SQLite would make one
        return []
    try:
        with sqlite3.connect(folder / "journal.sqlite", timeout=10) as connection:
            rows = connection.execute("SELECT owner FROM runs WHERE status = 'running'").fetchall()
        connection.close()
    except sqlite3.OperationalError:
        return []
    return [int(name.split(":")[1]) for (name,) in rows if name]


def disturbed(prepared: Prepared, folder: Path, draw: random.Random, kills: int) -> int:
    """Does a study that is killed at most ``kills`` times. Returns how often it was."""
    count = 0
    while True:
        pid = command(prepared, folder)
        moment = time.monotonic() + draw.uniform(0.01, 0.6)
        while (code := ended(pid)) is None and (count >= kills or time.monotonic() < moment):
            time.sleep(0.003)
        if code is None:
            count += 1
            what = draw.choice(["all", "all", "command", "worker"])
            victims = workers(folder) if what == "worker" else []
            if victims:  # the command goes on without it
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(victims), signal.SIGKILL)
                while (code := ended(pid)) is None:
                    time.sleep(0.003)
            else:
                os.killpg(pid, signal.SIGKILL) if what == "all" else os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                continue
        assert code == 0, code
        with sqlite3.connect(folder / "journal.sqlite") as connection:
            open_ = connection.execute("SELECT COUNT(*) FROM runs WHERE status != 'done'").fetchone()[0]
        connection.close()
        if not open_:
            return count


def numbers(folder: Path) -> list[list[tuple]]:
    with sqlite3.connect(folder / "journal.sqlite") as connection:
        values = [connection.execute(query).fetchall() for query in (NUMBERS, METRICS)]
    connection.close()
    return values


def prepared_in(folder: Path, study: str = STUDY) -> Prepared:
    """The study, with its files in a folder, which becomes the working directory."""
    torch.set_num_threads(1)
    os.chdir(folder)
    Path("mini.yaml").write_text(SPEC)
    random_numbers = np.random.default_rng(0)
    np.savez("data.npz", x=random_numbers.normal(size=(60, 1, 8, 8)), y=np.arange(60) % 3)
    return prepare(load_study_text(study))


def alone(prepared: Prepared, folder: Path) -> list[list[tuple]]:
    """The numbers of a study that nothing disturbs."""
    disturbed(prepared, folder, random.Random(0), 0)
    whole = numbers(folder)
    assert len(whole[0]) == 20
    assert {row[2] for row in whole[1]} == {"done"}
    return whole


def kills(folder: Path, kills: int, seed: int) -> None:
    prepared, draw = prepared_in(folder), random.Random(seed)
    whole = alone(prepared, folder / "whole")
    count = studies = 0
    while count < kills:
        place = folder / f"study-{studies}"
        count += disturbed(prepared, place, draw, min(12, kills - count))
        studies += 1
        assert numbers(place) == whole, place
        assert not list((place / "checkpoints").glob("*.pt")), place
    print(f"{count} kills, {studies} studies, every number the same")


def two(folder: Path) -> None:
    one, other = prepared_in(folder), prepared_in(folder, STUDY.replace("epochs: 5", "epochs: 5, lr: 1e-2"))
    wholes = [alone(one, folder / "one"), alone(other, folder / "other")]
    assert wholes[0] != wholes[1]
    both = folder / "both"
    pids = []
    for prepared in (one, other, one):
        pids.append(command(prepared, both))
        end = time.monotonic() + 5
        while not workers(both) and time.monotonic() < end:  # the next command comes in the middle of the first one's runs
            time.sleep(0.003)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0, 0, 0], codes
    for prepared, whole in ((one, wholes[0]), (other, wholes[1])):
        journal = enter(prepared, both)
        assert journal.counts()["done"] == 4
        assert len(results_of(journal).others) == 1
        journal.close()
        assert numbers(both) == whole
    print("both recipes, every number the same")


def full(folder: Path, disk: Path) -> None:
    prepared = prepared_in(folder)
    whole = alone(prepared, folder / "whole")
    study, filler, stops = disk / "study", disk / "filler", 0
    enter(prepared, study).close()
    for room in (8_192, 40_960, 81_920, 163_840):  # for a part of the log, of a checkpoint, of several of them
        rest = os.statvfs(disk)
        with filler.open("wb") as file:
            file.write(bytes(max(0, rest.f_bavail * rest.f_frsize - room)))
        pid = command(prepared, study)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        stops += code == STOPPED
        filler.unlink()
        with sqlite3.connect(study / "journal.sqlite") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert not connection.execute("SELECT 1 FROM runs WHERE status = 'failed'").fetchall()
        connection.close()
    said = Path("errors").read_text()
    assert stops >= 2, said
    assert "the disk is full" in said
    assert "make room" in said
    assert "Errno" not in said
    disturbed(prepared, study, random.Random(0), 0)
    assert numbers(study) == whole
    print(f"{stops} full disks, every number the same")


if __name__ == "__main__":
    {"kills": lambda: kills(Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])), "two": lambda: two(Path(sys.argv[1])),
     "full": lambda: full(Path(sys.argv[1]), Path(sys.argv[3]))}[sys.argv[2]]()  # fmt: skip
