"""The SQLite file of a journal: how it is made, checked, brought up to date, copied, and what its errors say to a person."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..errors import MetablockError
from .rows import faults

FILE = "journal.sqlite"
ELSEWHERE = "name another folder with -o"  # the hint of messages about the file itself
VERSION = 2
_BESIDE = ("-wal", "-shm", "-journal")
_THOROUGH = 1 << 26  # bytes up to which indices, too, are compared with their tables
TABLES = {
    "about": "key TEXT PRIMARY KEY, value TEXT NOT NULL",
    "plans": "key TEXT PRIMARY KEY, entered REAL NOT NULL, cells TEXT NOT NULL, about TEXT NOT NULL",
    "planned": "plan TEXT NOT NULL, id TEXT NOT NULL, cell TEXT NOT NULL, seed INTEGER NOT NULL, place INTEGER NOT NULL, "
    "PRIMARY KEY (plan, id)",
    "specs": "hash TEXT PRIMARY KEY, spec TEXT NOT NULL",
    "runs": "id TEXT PRIMARY KEY, status TEXT NOT NULL DEFAULT 'pending', reason TEXT NOT NULL DEFAULT '', metric REAL, "
    "owner TEXT NOT NULL DEFAULT '', beat REAL NOT NULL DEFAULT 0, device TEXT NOT NULL DEFAULT '', "
    "attempts INTEGER NOT NULL DEFAULT 0, started REAL, finished REAL, identity TEXT NOT NULL DEFAULT ''",
    "epochs": "id TEXT NOT NULL, epoch INTEGER NOT NULL, train_loss REAL, val_loss REAL, val_top1 REAL, lr REAL, seconds REAL, "
    "PRIMARY KEY (id, epoch)",
    "probes": "id TEXT PRIMARY KEY, value TEXT NOT NULL",
    "attempts": "id TEXT NOT NULL, attempt INTEGER NOT NULL, owner TEXT NOT NULL, at REAL NOT NULL, "
    "conditions TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (id, attempt)",
}
# The plan that was entered last.
_WANTED = (
    "CREATE VIEW wanted AS SELECT id, cell, seed, place FROM planned "
    "WHERE plan = (SELECT value FROM about WHERE key = 'plan') ORDER BY place"
)
OLDEST = "version 1"  # the key of the plan of a journal that has been brought up to date
_NETWORKS = ("nfs", "cifs", "smb", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "fuse.sshfs", "9p", "afs", "ocfs2", "gfs2")


class StorageError(MetablockError):
    """The disk is full, read-only or out of order, or another process holds the file. No run is at fault."""


class DamagedError(MetablockError):
    """The file is no journal, or one with damage."""


def schema() -> list[str]:
    """The statements that make an empty journal."""
    return [*(f"CREATE TABLE {name} ({columns})" for name, columns in TABLES.items()), _WANTED,
            f"INSERT INTO about VALUES ('version', '{VERSION}')"]  # fmt: skip


def full(folder: Path) -> bool:
    """Whether the disk of a folder has no room left."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 1 << 16


def explained(wrong: BaseException, path: Path) -> MetablockError:
    """An error of SQLite or of the system in our words."""
    name = getattr(wrong, "sqlite_errorname", None) or ""
    whole = "the journal is as it was"
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        if name.startswith("SQLITE_FULL") or full(path.parent):
            return StorageError(f"{path}: the disk is full", f"{whole}; make room, and start again")
        return StorageError(f"{path}: the disk cannot be read or written", f"look at it; what is written stays, {ELSEWHERE}")
    if name.startswith("SQLITE_NOTADB"):
        hint = f"{ELSEWHERE}; if a study was here: metablock report {path.parent} --recover"
        return DamagedError(f"{path}: this is not a journal of metablock, or it is damaged", hint)
    if name.startswith("SQLITE_CORRUPT"):
        return damaged(path)
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return StorageError(f"{path}: this may not be written", f"{ELSEWHERE}; `metablock report` also reads such a folder")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return StorageError(f"{path}: another process holds it", f"{whole}; start again when that process has ended")
    if isinstance(wrong, OSError):
        return StorageError(f"{path}: cannot be opened: {wrong.strerror or 'there is no such place'}", ELSEWHERE)
    return StorageError(f"{path}: cannot be opened", f"{whole}; {ELSEWHERE}")


def damaged(path: Path, rows: Sequence[str] = ()) -> DamagedError:
    """The error for a journal with damage, with the damaged rows in words."""
    shown = f": {'; '.join(rows[:3])}" + (f"; and {len(rows) - 3} more" if len(rows) > 3 else "") if rows else ""
    hint = f"metablock report {path.parent} --recover: writes what can be read into a new one, and keeps this one"
    return DamagedError(f"{path}: this journal is damaged{shown}", hint)


def has_journal(folder: Path) -> bool:
    """Whether there is a file of a journal in a folder, whole or not. Raises StorageError where nobody may look."""
    path = folder / FILE
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as wrong:
        raise _no_folder(folder, wrong) from None
    return True


def need_journal(folder: Path) -> None:
    """Raises MetablockError where a folder holds no journal."""
    if not has_journal(folder):
        raise MetablockError(f"there is no study in '{folder}'", "name the folder that `metablock ablate` wrote")


def create(path: Path) -> None:
    """Makes the file of an empty journal, in one transaction. Raises sqlite3.DatabaseError."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for statement in schema():
            connection.execute(statement)
        connection.execute("COMMIT")


def copy_files(path: Path, target: Path) -> None:
    """Copies the file of a journal, and what is not in it yet: its log. Raises OSError."""
    for suffix in ("", "-wal", "-journal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copyfile(source, target.with_name(target.name + suffix))


def _no_folder(folder: Path, wrong: BaseException) -> StorageError:
    shown = str(folder) if len(str(folder)) < 100 else f"{str(folder)[:60]}..."
    if isinstance(wrong, (FileExistsError, NotADirectoryError)):
        return StorageError(f"'{shown}' is no folder: there is a file of this name", ELSEWHERE)
    reason = wrong.strerror if isinstance(wrong, OSError) else "this is not a path"
    return StorageError(f"'{shown}' cannot be used as a folder: {reason}", ELSEWHERE)


class Store:
    """An open file with the tables of a journal.

    Attributes:
        folder: that holds it.
        path: of the file.
        connection: to be used by the thread that opened it.
    """

    def __init__(self, folder: Path, *, checked: bool = True) -> None:
        self.folder, self.path = folder, folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as wrong:
            raise _no_folder(folder, wrong) from None
        if not has_journal(folder):
            _begin(self.path)
        elif self.path.is_dir():
            raise DamagedError(f"{self.path}: this is a folder, not a journal", ELSEWHERE)
        elif not self.path.stat().st_size:
            hint = f"bring it back from a copy, or remove it to begin anew; {ELSEWHERE}"
            raise DamagedError(f"{self.path}: this journal is empty, its study is lost", hint)
        try:
            self.connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            try:
                if checked:
                    self._check()
                self.connection.execute(f"PRAGMA journal_mode={'DELETE' if on_a_network(folder) else 'WAL'}")
                self.connection.execute("PRAGMA synchronous=FULL")
            except BaseException:
                self.connection.close()
                raise
        except (OSError, sqlite3.DatabaseError) as wrong:
            raise explained(wrong, self.path) from None

    def _check(self) -> None:
        """Raises DamagedError if the file has damage; brings an earlier version up to date."""
        check = "integrity_check" if self.path.stat().st_size < _THOROUGH else "quick_check"
        result = self.connection.execute(f"PRAGMA {check}(1)").fetchone()
        if result is None or result[0] != "ok":
            raise damaged(self.path)
        columns = {name: self._columns(name) for name in ("about", *TABLES)}
        if not columns["about"]:
            raise DamagedError(f"{self.path}: this is not a journal of metablock", ELSEWHERE)
        row = self.connection.execute("SELECT value FROM about WHERE key = 'version'").fetchone()
        version = row[0] if row else "0"
        if version == "1":
            self._from_version_1()
        elif version != str(VERSION):
            hint = f"use the version that wrote it, or {ELSEWHERE}"
            raise DamagedError(f"{self.path}: written by another version of metablock (its journal {version})", hint)
        missing = [name for name, text in TABLES.items() if not self._columns(name) >= set(_named(text))]
        if missing:
            raise damaged(self.path)
        rows = list(faults(self.connection, {name: ", ".join(_named(text)) for name, text in TABLES.items()}))
        if rows:
            raise damaged(self.path, rows)

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self.connection.execute(f"PRAGMA table_info({table})")}

    def _from_version_1(self) -> None:
        """Runs stay, without an identity; the plan becomes one of several."""
        with self.change() as do:
            if do.execute("SELECT value FROM about WHERE key = 'version'").fetchone()[0] != "1":
                return  # another process has done it
            if not self._columns("runs") or not self._columns("wanted") or not self._columns("plan"):
                raise damaged(self.path)
            for name in ("plans", "planned", "specs", "attempts"):
                do.execute(f"CREATE TABLE {name} ({TABLES[name]})")
            do.execute("ALTER TABLE runs ADD COLUMN identity TEXT NOT NULL DEFAULT ''")
            do.execute("INSERT INTO planned SELECT ?, id, cell, seed, place FROM wanted", (OLDEST,))
            do.execute("INSERT OR IGNORE INTO specs SELECT hash, spec FROM plan")
            keys = ("study", "cells", "recipe", "data", "command", "versions", "hardware", "latency", "device", "picks")
            values = {key: json.loads(value) for key, value in do.execute("SELECT key, value FROM about") if key in keys}
            do.execute("INSERT INTO plans VALUES (?, 0, '', ?)", (OLDEST, json.dumps(values)))
            do.executemany("DELETE FROM about WHERE key = ?", [(key,) for key in keys])
            do.execute("DROP TABLE plan")
            do.execute("DROP TABLE wanted")
            do.execute(_WANTED)
            do.execute("INSERT OR REPLACE INTO about VALUES ('plan', ?)", (OLDEST,))
            do.execute("UPDATE about SET value = ? WHERE key = 'version'", (str(VERSION),))

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
            try:
                self.connection.execute("COMMIT")
            except sqlite3.DatabaseError:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as wrong:
            raise explained(wrong, self.path) from None

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query gives. Raises MetablockError in our words."""
        try:
            return self.connection.execute(query, values).fetchall()
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as wrong:
            raise explained(wrong, self.path) from None

    def flush(self) -> None:
        """Brings everything from the log beside the file into the file, as far as no reader is in the way."""
        try:
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.DatabaseError as wrong:
            raise explained(wrong, self.path) from None

    def copy(self, target: Path) -> None:
        """Writes a copy of the file, whole and of one moment, whoever else writes at the time. Raises MetablockError."""
        try:
            with tempfile.TemporaryDirectory(prefix=f".{FILE}.", dir=target.parent) as folder:
                whole = Path(folder) / FILE
                other = sqlite3.connect(whole)
                try:
                    self.connection.backup(other)
                finally:
                    other.close()
                os.replace(whole, target)
        except OSError as wrong:
            raise _no_folder(target.parent, wrong) from None
        except sqlite3.DatabaseError as wrong:
            raise explained(wrong, target) from None


def _named(columns: str) -> list[str]:
    """The names of the columns in the text of a table, in their order."""
    words = [part.split()[0] for part in columns.split(", ")]
    return [word for word in words if word.isidentifier() and word.islower()]


def _begin(path: Path) -> None:
    """Makes an empty journal. It appears whole: whoever finds the file empty knows that it was emptied."""
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        if suffix != "-shm" and beside.exists() and not path.exists():  # it may have come meanwhile, with its log
            hint = f"bring {path.name} back to where {beside.name} is, or remove that to begin anew; {ELSEWHERE}"
            raise DamagedError(f"{path}: this journal is missing, {beside.name} is still here", hint)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            create(temporary)
            if path.is_symlink():
                raise FileNotFoundError(2, "a link that leads nowhere")
            _appear(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, sqlite3.DatabaseError) as wrong:
        raise explained(wrong, path) from None


def _appear(temporary: Path, path: Path) -> None:
    """Gives a file its name, unless another process has made one there."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            os.rename(temporary, path)


def on_a_network(folder: Path, mounts: str | None = None) -> bool:
    """Whether a folder is on another machine's disk, where SQLite's log cannot be shared.

    Args:
        folder: it may not exist.
        mounts: the table of file systems; by default the system's own.

    >>> on_a_network(Path("/data/x"), "server:/ /data nfs4 rw 0 0"), on_a_network(Path("/x"), "server:/ /data nfs4 rw 0 0")
    (True, False)
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    here, best, kind = folder.resolve(), -1, ""
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        place = Path(words[1].replace("\\040", " "))
        if len(place.parts) >= best and here.is_relative_to(place):
            best, kind = len(place.parts), words[2]
    return kind.startswith(_NETWORKS)


@contextmanager
def readable(folder: Path) -> Iterator[Path]:
    """A folder whose journal can be opened: the folder itself, or, where nothing may be written there, a copy that goes again."""
    path = folder / FILE
    if os.access(folder, os.W_OK) and os.access(path, os.W_OK):
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        try:
            copy_files(path, Path(temporary) / path.name)
        except OSError as wrong:
            raise explained(wrong, path) from None
        yield Path(temporary)
