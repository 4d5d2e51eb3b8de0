"""The journal of a study: one SQLite file with every run. It survives the death of the processes that write it.

A run's identity is the hash of its resolved spec, recipe, data and seed. So a study that is started again, or edited, finds the
runs that are done. Several processes may work on one journal: a run is claimed in a transaction, and a run whose owner has died
can be claimed again.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import MetablockError
from .results import Epoch, Run

FILE = "journal.sqlite"
BEAT = 5.0  # seconds between two signs of life of an owner
SILENT = 60.0  # seconds without one after which an owner on another machine counts as gone
_ELSEWHERE = "name another folder with -o"  # the hint of messages about the file itself
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS plan (
    position INTEGER PRIMARY KEY, cell TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, spec TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS wanted (id TEXT PRIMARY KEY, cell TEXT NOT NULL, seed INTEGER NOT NULL, place INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, status TEXT NOT NULL DEFAULT 'pending', reason TEXT NOT NULL DEFAULT '', metric REAL,
    owner TEXT NOT NULL DEFAULT '', beat REAL NOT NULL DEFAULT 0, device TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0, started REAL, finished REAL
);
CREATE TABLE IF NOT EXISTS epochs (
    id TEXT NOT NULL, epoch INTEGER NOT NULL, train_loss REAL, val_loss REAL, val_top1 REAL, lr REAL, seconds REAL,
    PRIMARY KEY (id, epoch)
);
CREATE TABLE IF NOT EXISTS probes (id TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

# Called several times a second while runs are going on, with the runs and with how many there are of each status.
Watch = Callable[[list[Run], dict[str, int]], None]


@dataclass(frozen=True)
class Job:
    """A run to do.

    Attributes:
        id: its identity, see :func:`run_id`.
        cell: name of its cell.
        seed: of the training.
        spec: text of the resolved spec.
    """

    id: str
    cell: str
    seed: int
    spec: str


def run_id(spec_hash: str, recipe: str, data: str, seed: int) -> str:
    """The identity of a run: SHA-256 of the hashes of spec, recipe and data, and of the seed.

    >>> run_id("spec", "recipe", "data", 0)[:12]
    'd4e1341fcd79'
    """
    return sha256(f"{spec_hash} {recipe} {data} {seed}".encode()).hexdigest()


def owner() -> str:
    """The name of this process as an owner of runs: host, process id, and when it began (ids are used again)."""
    return f"{socket.gethostname()}:{os.getpid()}:{_born(os.getpid())}"


def _born(pid: int) -> str:
    """When a process began, in ticks of the system's clock; empty if that cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def gone(name: str, beat: float) -> bool:
    """Whether the owner of a run has died.

    Args:
        name: of the owner, see :func:`owner`.
        beat: time of its last sign of life, in seconds since 1970. Only owners on other machines are judged by it.

    >>> gone(owner(), beat=0.0), gone("another machine:12:34", beat=0.0)
    (False, True)
    """
    host, _, rest = name.partition(":")
    pid, _, born = rest.partition(":")
    if host == socket.gethostname() and pid.isdigit():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return _born(int(pid)) != born
    return time.time() - beat > SILENT


class Journal:
    """The journal in a folder; it is created if there is none. Every method is one transaction.

    Every method raises MetablockError if the file is not a journal or the disk is full; the journal stays as it was.

    Attributes:
        folder: of the study.
        path: of the SQLite file in it.
        connection: to be used by the thread that opened it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder))
    ...     journal.set_plan(cells=[("base", "hash of the spec", "name: mini")], runs=[("id", "base", 0)])
    ...     job = journal.claim(owner(), "cpu")
    ...     journal.record(job.id, Epoch(1, train_loss=2.3, val_loss=2.1, val_top1=31.0, lr=1e-3, seconds=4.0))
    ...     journal.finish(job.id, owner(), metric=31.0)
    ...     [run] = journal.runs()
    ...     journal.close()
    >>> run.status, run.metric, len(run.epochs)
    ('done', 31.0, 1)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.DatabaseError as wrong:
            raise self._explained(wrong) from None
        except (OSError, sqlite3.Error) as wrong:
            raise MetablockError(f"{self.path}: cannot be opened: {wrong}", _ELSEWHERE) from None
        with self.change() as do:
            for statement in _SCHEMA.split(";"):
                do.execute(statement)
            version = do.execute("SELECT value FROM about WHERE key = 'version'").fetchone()
            if version is None:
                do.execute("INSERT INTO about VALUES ('version', ?)", (str(_VERSION),))
            elif version[0] != str(_VERSION):
                raise MetablockError(f"{self.path}: written by another version of metablock", _ELSEWHERE)

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction in which no other process writes; it is rolled back if the block raises."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                if self.connection.in_transaction:  # SQLite has rolled it back already if the disk is full
                    self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
        except sqlite3.DatabaseError as wrong:
            raise self._explained(wrong) from None

    def _explained(self, wrong: sqlite3.DatabaseError) -> MetablockError:
        """SQLite's error in our words."""
        text = str(wrong)
        if "full" in text or "disk I/O" in text:
            return MetablockError(f"{self.path}: the disk is full", "the journal is as it was; make room, and start again")
        if "not a database" in text or "malformed" in text:
            return MetablockError(f"{self.path}: this is not a journal of metablock", _ELSEWHERE)
        if "unable to open" in text:
            return MetablockError(f"{self.path}: cannot be opened", _ELSEWHERE)
        return MetablockError(f"{self.path}: {text}", "the journal is as it was; start again")

    # The study

    def about(self) -> dict[str, Any]:
        """All that :meth:`set_about` wrote: the study, its cells, recipe and data (``metablock.ablation.record``)."""
        rows = self.connection.execute("SELECT key, value FROM about WHERE key != 'version'").fetchall()
        return {key: json.loads(value) for key, value in rows}

    def set_about(self, values: Mapping[str, Any]) -> None:
        """Writes values that JSON can hold; those under other keys stay."""
        with self.change() as do:
            do.executemany(
                "INSERT OR REPLACE INTO about VALUES (?, ?)", [(key, json.dumps(value)) for key, value in values.items()]
            )

    def set_plan(self, cells: Sequence[tuple[str, str, str]], runs: Sequence[tuple[str, str, int]]) -> None:
        """Replaces the plan. Runs that are no longer in it stay in the file, and are found if they are planned again.

        Args:
            cells: name, hash and text of each resolved spec.
            runs: identity, name of the cell and seed of each run, in the order in which they are to be done.
        """
        with self.change() as do:
            do.execute("DELETE FROM plan")
            do.execute("DELETE FROM wanted")
            do.executemany("INSERT INTO plan VALUES (?, ?, ?, ?)", [(i, *cell) for i, cell in enumerate(cells)])
            do.executemany("INSERT OR IGNORE INTO wanted VALUES (?, ?, ?, ?)", [(*run, i) for i, run in enumerate(runs)])
            do.executemany("INSERT OR IGNORE INTO runs (id) VALUES (?)", [(run[0],) for run in runs])

    # Runs to do

    def claim(self, who: str, device: str = "") -> Job | None:
        """Gives the next free run to an owner; None if no run is free.

        Runs whose owners have died come first, then pending ones in the order of the plan.

        Args:
            who: the owner, see :func:`owner`.
            device: in words, for reports.
        """
        with self.change() as do:
            rows = do.execute(
                "SELECT id, cell, seed, status, owner, beat FROM wanted JOIN runs USING (id) "
                "WHERE status IN ('pending', 'running') ORDER BY status = 'pending', place"
            ).fetchall()
            for identity, cell, seed, status, other, beat in rows:
                if status == "running" and not gone(other, beat):
                    continue
                do.execute(
                    "UPDATE runs SET status = 'running', owner = ?, beat = ?, device = ?, attempts = attempts + 1, "
                    "started = COALESCE(started, ?), reason = '' WHERE id = ?",
                    (who, time.time(), device, time.time(), identity),
                )
                spec = do.execute("SELECT spec FROM plan WHERE cell = ?", (cell,)).fetchone()[0]
                return Job(identity, cell, seed, spec)
        return None

    def beat(self, identity: str, who: str) -> bool:
        """Writes down a sign of life of the owner. False if the run belongs to another owner by now."""
        with self.change() as do:
            return do.execute("UPDATE runs SET beat = ? WHERE id = ? AND owner = ?", (time.time(), identity, who)).rowcount == 1

    def record(self, identity: str, epoch: Epoch) -> None:
        """Writes down a finished epoch. One of this number replaces the older one: both have the same numbers."""
        values = (identity, epoch.epoch, epoch.train_loss, epoch.val_loss, epoch.val_top1, epoch.lr, epoch.seconds)
        with self.change() as do:
            do.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def finish(self, identity: str, who: str, metric: float) -> None:
        """Marks a run as done, if it still belongs to this owner; ``metric`` is its last top-1, per cent."""
        with self.change() as do:
            do.execute(
                "UPDATE runs SET status = 'done', metric = ?, finished = ?, reason = '' WHERE id = ? AND owner = ?",
                (metric, time.time(), identity, who),
            )

    def fail(self, identity: str, who: str, reason: str) -> None:
        """Marks a run as failed, if it still belongs to this owner."""
        with self.change() as do:
            do.execute(
                "UPDATE runs SET status = 'failed', reason = ?, finished = ? WHERE id = ? AND owner = ?",
                (reason, time.time(), identity, who),
            )

    def set_probe(self, identity: str, value: str) -> None:
        """Stores what was measured in a run's trained network (:func:`metablock.ablation.probe.to_json`)."""
        with self.change() as do:
            do.execute("INSERT OR REPLACE INTO probes VALUES (?, ?)", (identity, value))

    def probes(self) -> dict[str, str]:
        """What :meth:`set_probe` stored, by cell; of several seeds that of the first."""
        rows = self.connection.execute("SELECT cell, value FROM wanted JOIN probes USING (id) ORDER BY place DESC").fetchall()
        return dict(rows)

    def release(self, who: str) -> list[str]:
        """Makes an owner's unfinished runs free again. Returns their identities."""
        with self.change() as do:
            rows = do.execute("SELECT id FROM runs WHERE status = 'running' AND owner = ?", (who,)).fetchall()
            do.execute("UPDATE runs SET status = 'pending', owner = '' WHERE status = 'running' AND owner = ?", (who,))
        return [identity for (identity,) in rows]

    def owned_by(self, pid: int) -> list[tuple[str, str]]:
        """Identity and owner of the unfinished runs of a process on this machine."""
        rows = self.connection.execute("SELECT id, owner FROM runs WHERE status = 'running'").fetchall()
        return [(identity, who) for identity, who in rows if who.startswith(f"{socket.gethostname()}:{pid}:")]

    def abandoned(self) -> int:
        """Number of the study's unfinished runs whose owners have died."""
        query = "SELECT owner, beat FROM wanted JOIN runs USING (id) WHERE status = 'running'"
        return sum(gone(who, beat) for who, beat in self.connection.execute(query).fetchall())

    def retry_failed(self) -> int:
        """Makes the study's failed runs pending; they go on from their last checkpoints. Returns their number."""
        with self.change() as do:
            return do.execute(
                "UPDATE runs SET status = 'pending', reason = '' WHERE status = 'failed' AND id IN (SELECT id FROM wanted)"
            ).rowcount

    # Results

    def counts(self) -> dict[str, int]:
        """Number of the study's runs by status: ``pending``, ``running``, ``done``, ``failed``."""
        rows = self.connection.execute("SELECT status, COUNT(*) FROM wanted JOIN runs USING (id) GROUP BY status").fetchall()
        return {**dict.fromkeys(("pending", "running", "done", "failed"), 0), **dict(rows)}

    def runs(self) -> list[Run]:
        """The study's runs with their epochs, in the order of the plan."""
        epochs: dict[str, list[Epoch]] = {}
        for identity, *values in self.connection.execute("SELECT * FROM epochs ORDER BY id, epoch"):
            epochs.setdefault(identity, []).append(Epoch(*values))
        rows = self.connection.execute(
            "SELECT id, cell, seed, status, metric, reason, device FROM wanted JOIN runs USING (id) ORDER BY place"
        ).fetchall()
        result = []
        for identity, cell, seed, status, metric, reason, device in rows:
            finished = tuple(epochs.get(identity, ()))
            seconds = sum(epoch.seconds for epoch in finished)
            result.append(Run(cell, seed, status, metric, reason, finished, seconds, device))
        return result

    def checkpoint(self, identity: str) -> Path:
        """The file from which an interrupted run goes on."""
        return self.folder / "checkpoints" / f"{identity}.pt"
