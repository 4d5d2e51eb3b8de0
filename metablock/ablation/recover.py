"""Saves what can be read of a damaged journal, and copies the folder of a study while others work on it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ..errors import MetablockError
from .journal import Journal
from .owners import gone, on_this_machine
from .rows import fault, mend_references
from .store import FILE, TABLES, DamagedError, Store, copy_files, create, explained, has_journal, need_journal, schema

_MAX_GAP = 100_000  # rows that are asked for one by one between two readable stretches
_HOPELESS = 4_000  # so many of them in a row that cannot be read end the search
# The tables that a journal of version 1 has besides.
_EARLIER = {
    "plan": "position INTEGER PRIMARY KEY, cell TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, spec TEXT NOT NULL",
    "wanted": "id TEXT PRIMARY KEY, cell TEXT NOT NULL, seed INTEGER NOT NULL, place INTEGER NOT NULL",
}


def recover(folder: Path) -> list[str]:
    """Writes what can be read of a damaged journal into a new one, which takes its place. The damaged file is kept beside it.

    Args:
        folder: of the study.

    Returns:
        What was read, and where the damaged file is, in sentences.

    Raises:
        MetablockError: there is no journal, it has no damage, nothing in it can be read, or a process is working on it.
    """
    need_journal(folder)
    path = folder / FILE
    try:
        with closing(Journal(folder)) as journal:
            journal.about(), journal.study()
    except DamagedError:
        pass
    else:
        raise MetablockError(f"{path}: this journal has no damage", "leave out --recover")
    if not path.stat().st_size:
        raise MetablockError(f"{path}: this journal is empty: there is nothing to read", "bring it back from a copy")
    with tempfile.TemporaryDirectory(prefix=".recover.", dir=folder) as temporary:
        new = Path(temporary) / "new.sqlite"
        counts = _salvaged(path, Path(temporary), new)
        if not counts["runs"] and not counts["epochs"]:
            raise MetablockError(
                f"{path}: nothing in this journal can be read", "bring it back from a copy; this file stays as it is"
            )
        damaged_file = _set_aside(path)
        os.replace(new, path)
    Store(folder).close()  # brings an earlier version up to date
    lines = [
        f"{counts['runs']} runs ({counts['done']} of them done), {counts['epochs']} epochs, {counts['probes']} probes were read",
        f"the damaged journal is {damaged_file}; the same `metablock ablate` goes on with what was read",
    ]
    if counts["bad"]:
        lines.insert(1, f"{counts['bad']} entries were damaged and are left out")
    return lines


def _set_aside(path: Path) -> Path:
    """Gives a damaged journal another name, and the files beside it."""
    number, target = 1, path.with_name("journal.damaged.sqlite")
    while target.exists():
        number += 1
        target = path.with_name(f"journal.damaged-{number}.sqlite")
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            os.replace(path.with_name(path.name + suffix), target.with_name(target.name + suffix))
    return target


def _salvaged(path: Path, work: Path, new: Path) -> Counter[str]:
    """Fills a new journal with what can be read of a damaged one. Works on a copy: SQLite may write where it reads."""
    copy = work / "copy.sqlite"
    try:
        copy_files(path, copy)
        names = _tables(copy)
        if not names:
            _lend_first_page(copy, work / "fresh.sqlite")
            names = _tables(copy)
        counts: Counter[str] = Counter()
        earlier = "plan" in names and "planned" not in names
        with closing(sqlite3.connect(copy)) as old, closing(sqlite3.connect(new)) as fresh:
            old.text_factory = lambda text: text.decode(errors="replace")
            for statement in _schema_of_version_1() if earlier else schema():
                fresh.execute(statement)
            for (name,) in fresh.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                _copy_table(old, fresh, name, counts)
            if not earlier and not fresh.execute("SELECT 1 FROM about WHERE key = 'plan'").fetchone():
                fresh.execute("INSERT INTO about SELECT 'plan', key FROM plans ORDER BY entered DESC LIMIT 1")
            for who, beat in fresh.execute("SELECT owner, beat FROM runs WHERE status = 'running'"):
                if on_this_machine(who) and not gone(who, beat):
                    raise MetablockError(f"{path}: a process is working on this journal", "end it first")
            fresh.execute("UPDATE runs SET status = 'pending', owner = '' WHERE status = 'running'")
            if not earlier:
                lost = mend_references(fresh)
                counts["bad"] += lost
                counts["runs"] -= lost
            counts["done"] = fresh.execute("SELECT COUNT(*) FROM runs WHERE status = 'done'").fetchone()[0]
            fresh.commit()
        return counts
    except (OSError, sqlite3.DatabaseError) as wrong:
        raise explained(wrong, path) from None


def _schema_of_version_1() -> list[str]:
    layouts = {name: TABLES[name] for name in ("about", "runs", "epochs", "probes")} | _EARLIER
    layouts["runs"] = layouts["runs"].partition(", identity")[0]
    return [
        *(f"CREATE TABLE {name} ({columns})" for name, columns in layouts.items()),
        "INSERT INTO about VALUES ('version', '1')",
    ]


def _tables(path: Path) -> set[str]:
    """The names of the tables that a file says it has; none where its first page cannot be read."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError:
        return set()


def _lend_first_page(path: Path, fresh: Path) -> None:
    """Replaces the first page, which says where tables begin, by that of a new journal: they begin at the same places there."""
    create(fresh)
    page = bytearray(fresh.read_bytes()[:4096])
    content = path.read_bytes()
    page[28:32] = (len(content) // 4096).to_bytes(4, "big")
    page[32:40] = bytes(8)  # no free pages
    path.write_bytes(bytes(page) + content[4096:])
    for suffix in ("-wal", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _copy_table(old: sqlite3.Connection, fresh: sqlite3.Connection, table: str, counts: Counter[str]) -> None:
    """Copies the rows of a table that can be read and make sense."""
    columns = [row[1] for row in fresh.execute(f"PRAGMA table_info({table})")]
    try:
        there = {row[1] for row in old.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:
        return
    columns = [name for name in columns if name in there]
    if not columns:
        return
    marks = ", ".join("?" * len(columns))
    for row in _rows(old, table, columns):
        values = dict(zip(columns, row, strict=True))
        if _fault(table, values):
            counts["bad"] += 1
            continue
        try:
            done = fresh.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", row)
        except (sqlite3.IntegrityError, sqlite3.InterfaceError):
            counts["bad"] += 1
            continue
        counts[table] += done.rowcount


def _rows(old: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a table from both ends up to what cannot be read, then those between one by one."""
    query = f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED"
    seen: dict[int, tuple[Any, ...]] = {}
    ends: list[int] = []
    for order in ("ASC", "DESC"):
        last = 0
        try:
            for number, *row in old.execute(f"{query} ORDER BY rowid {order}"):
                if order == "DESC" and number in seen:
                    break
                seen[number], last = tuple(row), number
            else:
                if order == "ASC":
                    yield from seen.values()
                    return
        except (sqlite3.DatabaseError, OverflowError):
            pass
        ends.append(last)
    first, last = ends[0] + 1, ends[-1] or ends[0] + _MAX_GAP
    misses = 0
    for number in range(first, min(last, first + _MAX_GAP)):
        misses += 1
        with suppress(sqlite3.DatabaseError):
            row = old.execute(f"{query} WHERE rowid = ?", (number,)).fetchone()
            if row is not None:
                seen[number], misses = tuple(row[1:]), 0
        if misses > _HOPELESS:
            break
    for number in sorted(seen):
        yield seen[number]


def _fault(table: str, values: dict[str, Any]) -> str:
    try:
        return fault(table, values)
    except KeyError:  # a column of a later version, or of none
        return "columns"


def copy_study(folder: Path, target: Path) -> list[Path]:
    """Copies a study, also while processes work on it: the journal as of one moment, and its checkpoints and reports.

    Args:
        folder: of the study.
        target: is made; it must not hold a journal.

    Returns:
        The files of the copy.

    Raises:
        MetablockError: there is no study, the target has one, or cannot be written.
    """
    need_journal(folder)
    if has_journal(target):
        raise MetablockError(f"there is a study in '{target}' already", "name another folder for the copy")
    store = Store(folder)
    written = [target / FILE]
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in name.parts) or name.parts[0] == "logs"
            if hidden or path.name.startswith(FILE) or not path.is_file() or path.is_relative_to(target):
                continue
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # its run has ended meanwhile
                shutil.copyfile(path, target / name)
                written.append(target / name)
        store.copy(target / FILE)
        with closing(sqlite3.connect(target / FILE)) as connection:
            connection.execute("UPDATE runs SET status = 'pending', owner = '' WHERE status = 'running'")
            connection.commit()
    except (OSError, ValueError) as wrong:
        if isinstance(wrong, MetablockError):
            raise
        reason = wrong.strerror if isinstance(wrong, OSError) else "this is not a path"
        raise MetablockError(f"{str(target)[:200]}: cannot write there: {reason}", "name another folder for the copy") from None
    except sqlite3.DatabaseError as wrong:
        raise explained(wrong, target / FILE) from None
    finally:
        store.close()
    return written
