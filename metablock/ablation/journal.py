"""The journal of a study: one SQLite file that knows every run, and survives whatever happens to the processes that write it.

A run's identity is the hash of what it is: resolved spec, recipe, data and seed. So a study that is started again, or edited,
finds what was done before. Several processes may work on one journal: a run is claimed in a transaction, and one whose owner is
gone is free again.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import MetablockError
from .results import Epoch, Run

FILE = "journal.sqlite"
SILENT = 60.0  # seconds after which the owner of a run on another machine counts as gone
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


@dataclass(frozen=True)
class Job:
    """A run that is to be done: its identity, its cell, its seed, and the text of its resolved spec."""

    id: str
    cell: str
    seed: int
    spec: str


def run_id(spec_hash: str, recipe: str, data: str, seed: int) -> str:
    """The identity of a run, from the hashes of what it is."""
    return sha256(f"{spec_hash} {recipe} {data} {seed}".encode()).hexdigest()


def owner() -> str:
    """This process, in a form that others on this machine can look for."""
    return f"{socket.gethostname()}:{os.getpid()}:{_born(os.getpid())}"


def _born(pid: int) -> str:
    """When a process began: a number of a process may be used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def gone(name: str, beat: float) -> bool:
    """Whether the owner of a run is no more."""
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
    """One study's file. Every method is a transaction of its own.

    Raises MetablockError where the file is no journal, or the disk is full; what was written before stays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=FULL")
        except (OSError, sqlite3.Error) as wrong:
            raise MetablockError(f"{self.path}: cannot be opened: {wrong}\n  name another folder with -o") from None
        with self.change() as do:
            for statement in _SCHEMA.split(";"):
                do.execute(statement)
            found = do.execute("SELECT value FROM about WHERE key = 'version'").fetchone()
            if found is None:
                do.execute("INSERT INTO about VALUES ('version', ?)", (str(_VERSION),))
            elif found[0] != str(_VERSION):
                raise MetablockError(f"{self.path}: written by another version of metablock\n  name another folder with -o")

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process writes beside; undone where it does not come to its end."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                if self.connection.in_transaction:  # a full disk has undone it already
                    self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
        except sqlite3.DatabaseError as wrong:
            text = str(wrong)
            if "full" in text or "disk I/O" in text:
                raise MetablockError(
                    f"{self.path}: the disk is full\n  the journal is as it was; make room, and start again"
                ) from None
            if "not a database" in text or "malformed" in text:
                raise MetablockError(f"{self.path}: this is no journal of metablock\n  name another folder with -o") from None
            raise MetablockError(f"{self.path}: {text}\n  the journal is as it was; start again") from None

    # What the study is

    def about(self) -> dict[str, Any]:
        rows = self.connection.execute("SELECT key, value FROM about WHERE key != 'version'").fetchall()
        return {key: json.loads(value) for key, value in rows}

    def set_about(self, values: Mapping[str, Any]) -> None:
        with self.change() as do:
            do.executemany(
                "INSERT OR REPLACE INTO about VALUES (?, ?)", [(key, json.dumps(value)) for key, value in values.items()]
            )

    def set_plan(self, cells: Sequence[tuple[str, str, str]], runs: Sequence[tuple[str, str, int]]) -> None:
        """The cells (name, hash, spec) and runs (id, cell, seed) of the study as it is now. Finished runs of others stay."""
        with self.change() as do:
            do.execute("DELETE FROM plan")
            do.execute("DELETE FROM wanted")
            do.executemany("INSERT INTO plan VALUES (?, ?, ?, ?)", [(i, *cell) for i, cell in enumerate(cells)])
            do.executemany("INSERT OR IGNORE INTO wanted VALUES (?, ?, ?, ?)", [(*run, i) for i, run in enumerate(runs)])
            do.executemany("INSERT OR IGNORE INTO runs (id) VALUES (?)", [(run[0],) for run in runs])

    # Work

    def claim(self, who: str, device: str = "") -> Job | None:
        """The next run that nobody has, now this owner's; None where there is none."""
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
        """Says that the owner is alive; False where the run is another's by now."""
        with self.change() as do:
            return do.execute("UPDATE runs SET beat = ? WHERE id = ? AND owner = ?", (time.time(), identity, who)).rowcount == 1

    def record(self, identity: str, epoch: Epoch) -> None:
        """An epoch; one that is there already is the same."""
        values = (identity, epoch.epoch, epoch.train_loss, epoch.val_loss, epoch.val_top1, epoch.lr, epoch.seconds)
        with self.change() as do:
            do.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def finish(self, identity: str, who: str, metric: float) -> None:
        with self.change() as do:
            do.execute(
                "UPDATE runs SET status = 'done', metric = ?, finished = ?, reason = '' WHERE id = ? AND owner = ?",
                (metric, time.time(), identity, who),
            )

    def fail(self, identity: str, who: str, reason: str) -> None:
        with self.change() as do:
            do.execute(
                "UPDATE runs SET status = 'failed', reason = ?, finished = ? WHERE id = ? AND owner = ?",
                (reason, time.time(), identity, who),
            )

    def set_probe(self, identity: str, value: str) -> None:
        """What was measured in a run's network once it was trained, as text."""
        with self.change() as do:
            do.execute("INSERT OR REPLACE INTO probes VALUES (?, ?)", (identity, value))

    def probes(self) -> dict[str, str]:
        """What was measured, by cell."""
        rows = self.connection.execute("SELECT cell, value FROM wanted JOIN probes USING (id) ORDER BY place DESC").fetchall()
        return dict(rows)

    def release(self, who: str) -> list[str]:
        """Makes an owner's runs free again; their identities."""
        with self.change() as do:
            found = [
                row[0] for row in do.execute("SELECT id FROM runs WHERE status = 'running' AND owner = ?", (who,)).fetchall()
            ]
            do.execute("UPDATE runs SET status = 'pending', owner = '' WHERE status = 'running' AND owner = ?", (who,))
        return found

    def retry_failed(self) -> int:
        """Failed runs of the study are to be done again, from their last checkpoints; how many."""
        with self.change() as do:
            return do.execute(
                "UPDATE runs SET status = 'pending', reason = '' WHERE status = 'failed' AND id IN (SELECT id FROM wanted)"
            ).rowcount

    # What was found

    def counts(self) -> dict[str, int]:
        """How many of the study's runs are pending, running, done, failed."""
        rows = self.connection.execute("SELECT status, COUNT(*) FROM wanted JOIN runs USING (id) GROUP BY status").fetchall()
        return {**dict.fromkeys(("pending", "running", "done", "failed"), 0), **dict(rows)}

    def runs(self) -> list[Run]:
        """The study's runs, with their epochs."""
        epochs: dict[str, list[Epoch]] = {}
        for identity, *values in self.connection.execute("SELECT * FROM epochs ORDER BY id, epoch"):
            epochs.setdefault(identity, []).append(Epoch(*values))
        rows = self.connection.execute(
            "SELECT id, cell, seed, status, metric, reason, device FROM wanted JOIN runs USING (id) ORDER BY place"
        ).fetchall()
        result = []
        for identity, cell, seed, status, metric, reason, device in rows:
            found = tuple(epochs.get(identity, ()))
            result.append(Run(cell, seed, status, metric, reason, found, sum(epoch.seconds for epoch in found), device))
        return result

    def checkpoint(self, identity: str) -> Path:
        """Where a run keeps what it needs to go on."""
        return self.folder / "checkpoints" / f"{identity}.pt"
