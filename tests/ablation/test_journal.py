"""The journal's file: a full disk, damage, earlier versions, copies; owners that died, clocks that differ; runs of other plans."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import pytest

from metablock.ablation import owners
from metablock.ablation.identity import Identity
from metablock.ablation.journal import SILENT, Journal, Planned
from metablock.ablation.record import others
from metablock.ablation.recover import copy_study, recover
from metablock.ablation.results import Epoch
from metablock.ablation.store import FILE, DamagedError, StorageError, _begin, has_journal, readable
from metablock.errors import MetablockError

IDENTITY = Identity("hash", {"network": "n"}, {"lr": 0.1}, {"name": "digits", "input": "1x8x8", "fingerprint": "f"}, seed=0)


def planned(*identities: Identity) -> list[Planned]:
    return [Planned(identity, f"cell {identity.spec}", "spec") for identity in identities]


def filled(folder: Path, runs: int = 40, epochs: int = 30) -> Journal:
    """A journal with finished runs, whose tables take many pages."""
    journal = Journal(folder)
    identities = [replace(IDENTITY, seed=seed) for seed in range(runs)]
    journal.set_plan({"study": {"seeds": list(range(runs))}}, planned(*identities))
    while (job := journal.claim(owners.owner(), {"device": "cpu"})) is not None:
        with journal.change() as do:
            for epoch in range(1, epochs + 1):
                do.execute("INSERT INTO epochs VALUES (?, ?, 1.5, 1.5, ?, 0.1, 1.0)", (job.id, epoch, float(epoch)))
            do.execute("INSERT INTO probes VALUES (?, ?)", (job.id, json.dumps([{"stage": 0, "text": "x" * 500}])))
        journal.finish(job.id, owners.owner(), float(epochs))
    return journal


# The disk


def test_a_full_disk(tmp_path: Path):
    journal = Journal(tmp_path)
    journal.set_about({"study": {"name": "x"}})
    journal.set_plan({}, planned(IDENTITY))
    job = journal.claim("me")
    assert job is not None
    journal.record(job.id, Epoch(1, 1.0, 1.0, 50.0, 0.1, 1.0))
    pages = journal.connection.execute("PRAGMA page_count").fetchone()[0]
    journal.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match=r"the disk is full\n  the journal is as it was; make room, and start again"):
        journal.set_about({"study": {"name": "y"}, "large": "z" * 100_000})
    journal.close()
    again = Journal(tmp_path)
    assert again.about() == {"study": {"name": "x"}}
    assert [len(run.epochs) for run in again.runs()] == [1]
    again.set_about({"large": "z" * 100_000})
    again.close()


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_that_is_a_file(link: bool, tmp_path: Path):
    path = tmp_path / "x"
    path.symlink_to("x") if link else path.write_text("")
    with pytest.raises(StorageError, match=r"Too many levels|is no folder: there is a file of this name"):
        Journal(path)
    with pytest.raises(StorageError, match="File name too long"):
        has_journal(tmp_path / ("a" * 300))


def test_a_journal_that_another_process_holds(tmp_path: Path):
    Journal(tmp_path).close()
    journal = Journal(tmp_path)
    journal.connection.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process holds it") as wrong:
            journal.set_about({"a": 1})
    assert "database" not in str(wrong.value)
    journal.set_about({"a": 1})
    journal.close()


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its journal is read from a copy, log included."""
    journal = filled(tmp_path, 2, 2)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    with readable(tmp_path) as place:
        assert place != tmp_path
        copy = Journal(place)
        assert len(copy.runs()) == 2
        copy.close()
    journal.close()


# Damage


def test_no_journal(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"something else, long enough to be looked at as a header" * 99)
    with pytest.raises(DamagedError, match="this is not a journal of metablock"):
        Journal(tmp_path)


def test_an_emptied_file_is_not_begun_anew(tmp_path: Path):
    filled(tmp_path, 2, 2).close()
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(DamagedError, match="this journal is empty, its study is lost\n  bring it back from a copy"):
        Journal(tmp_path)
    assert (tmp_path / FILE).stat().st_size == 0
    with pytest.raises(MetablockError, match="there is nothing to read"):
        recover(tmp_path)


def test_a_log_without_its_journal(tmp_path: Path):
    (tmp_path / f"{FILE}-wal").write_bytes(b"x" * 100)
    with pytest.raises(DamagedError, match=r"this journal is missing, journal\.sqlite-wal is still here"):
        Journal(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_the_file_alone_has_every_finished_run(tmp_path: Path):
    """A copy of the one file, without the log beside it, lacks at most what is going on."""
    journal = filled(tmp_path, 5, 3)
    (tmp_path / "copy").mkdir()
    copyfile(tmp_path / FILE, tmp_path / "copy" / FILE)
    journal.close()
    copy = Journal(tmp_path / "copy")
    assert copy.counts()["done"] == 5
    assert [len(run.epochs) for run in copy.runs()] == [3] * 5
    copy.close()


def test_two_that_begin_at_once(tmp_path: Path):
    _begin(tmp_path / FILE)
    journal = filled(tmp_path, 1, 1)
    _begin(tmp_path / FILE)
    assert journal.counts()["done"] == 1
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("page", ["first", "epochs", "probes", "runs", "half"])
def test_a_damaged_journal(page: str, tmp_path: Path):
    journal = filled(tmp_path)
    tables = dict(journal.rows("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'"))
    journal.close()
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    if page == "half":
        del content[len(content) * 3 // 4 :]
    elif page == "first":
        content[:4096] = bytes(4096)
    else:  # a page below the root: a part of the table
        root = (tables[page] - 1) * 4096
        leaf = int.from_bytes(content[root + 8 : root + 12], "big")  # its rightmost child
        content[(leaf - 1) * 4096 : leaf * 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"damaged") as wrong:
        Journal(tmp_path)
    assert "--recover" in str(wrong.value)
    assert path.read_bytes() == bytes(content)
    lines = recover(tmp_path)
    assert (tmp_path / "journal.damaged.sqlite").read_bytes() == bytes(content)
    journal = Journal(tmp_path)
    epochs, probes = (journal.rows(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ("epochs", "probes"))
    done = journal.rows("SELECT COUNT(*) FROM runs WHERE status = 'done'")[0][0]
    assert f"{epochs} epochs, {probes} probes" in lines[0]
    assert epochs >= (1200 if page in ("first", "probes", "runs") else 500)
    assert probes >= (40 if page in ("first", "epochs", "runs") else 10)
    assert done >= (40 if page in ("first", "epochs", "probes") else 10)
    assert all(run.metric == 30.0 for run in journal.runs() if run.status == "done")
    journal.close()
    journal = Journal(tmp_path)  # the same study is entered again: what was lost is to be done
    journal.set_plan({"study": {}}, planned(*(replace(IDENTITY, seed=seed) for seed in range(40))))
    assert journal.counts()["done"] == done
    assert journal.counts()["pending"] == 40 - done
    journal.close()


@pytest.mark.parametrize(
    ("change", "said", "runs"),
    [
        ("UPDATE runs SET identity = replace(identity, '{', '[') WHERE rowid = 1", r"runs \w{12}: identity", 2),
        ("UPDATE runs SET identity = '{}' WHERE rowid = 1", r"runs \w{12}: identity", 2),
        ("UPDATE runs SET identity = replace(identity, '0.1', '0.2') WHERE rowid = 1", r"runs \w{12}: identity", 2),
        ("UPDATE runs SET metric = 'abc' WHERE rowid = 1", r"runs \w{12}: metric", 2),
        ("UPDATE runs SET metric = 99.0 WHERE rowid = 1", "metric, which is not that of the last epoch", 2),
        ("UPDATE runs SET beat = 'abc' WHERE rowid = 1", r"runs \w{12}: beat", 2),
        ("UPDATE runs SET reason = CAST(x'ff' AS TEXT) WHERE rowid = 1", r"runs \w{12}: reason", 2),
        ("UPDATE attempts SET conditions = replace(conditions, '{', '[')", r"attempts .*; .*: conditions", 3),
        ("UPDATE attempts SET conditions = '[]' WHERE rowid = 1", r"attempts \w{12}: conditions", 3),
        ("UPDATE plans SET about = replace(about, '{', '[')", r"plans \w{12}: about", 3),
        ("DELETE FROM plans", r"about plan: \w{12} is missing", 3),
        ("INSERT INTO about VALUES ('latencies', '[]')", "about latencies: value", 3),
        ("INSERT INTO about VALUES ('proposals', '{}')", "about proposals: value", 3),
        ("UPDATE epochs SET val_loss = 'x' WHERE epoch = 1", r"epochs \w{12}: val_loss", 3),
        ("UPDATE probes SET value = 'x' WHERE rowid = 1", r"probes \w{12}: value", 3),
        ("UPDATE runs SET status = 'pending'; DELETE FROM specs", "identity, whose spec is missing", 0),
    ],
)
def test_a_damaged_row(change: str, said: str, runs: int, tmp_path: Path):
    """A row that SQLite finds whole: it is named, and recovery keeps the others."""
    filled(tmp_path, 3, 2).close()
    Journal(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.executescript(change)
    with pytest.raises(DamagedError, match=f"this journal is damaged: .*{said}(.|\n)*--recover"):
        Journal(tmp_path)
    assert "were damaged" in " ".join(recover(tmp_path)) or change.startswith("DELETE FROM plans")
    journal = Journal(tmp_path)
    assert journal.rows("SELECT COUNT(*) FROM runs") == [(runs,)]
    journal.set_plan({"study": {}}, planned(*(replace(IDENTITY, seed=seed) for seed in range(3))))
    assert len(journal.runs()) == 3
    assert journal.counts()["pending"] == 3 - runs
    journal.close()


def test_a_whole_journal_is_not_recovered(tmp_path: Path):
    filled(tmp_path, 2, 2).close()
    with pytest.raises(MetablockError, match="this journal has no damage"):
        recover(tmp_path)
    with pytest.raises(MetablockError, match="there is no study"):
        recover(tmp_path / "other")


# Copies


def test_a_copy_while_a_process_works(tmp_path: Path):
    journal = filled(tmp_path / "a", 3, 3)
    journal.set_plan({"study": {}}, planned(replace(IDENTITY, seed=9)))
    job = journal.claim(owners.owner())
    assert job is not None
    journal.checkpoint(job.id).parent.mkdir()
    journal.checkpoint(job.id).write_bytes(b"state")
    written = copy_study(tmp_path / "a", tmp_path / "b")
    assert {path.name for path in written} == {FILE, f"{job.id}.pt"}
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["checkpoints", FILE]
    copy = Journal(tmp_path / "b")
    assert copy.counts()["pending"] == 1  # nobody works on the copy
    assert journal.counts()["running"] == 1
    assert copy.rows("SELECT COUNT(*) FROM epochs") == [(9,)]
    copy.close()
    journal.close()
    with pytest.raises(MetablockError, match=r"there is a study in '.*b' already"):
        copy_study(tmp_path / "a", tmp_path / "b")


# Earlier versions

VERSION_1 = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE plan (position INTEGER PRIMARY KEY, cell TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, spec TEXT NOT NULL);
CREATE TABLE wanted (id TEXT PRIMARY KEY, cell TEXT NOT NULL, seed INTEGER NOT NULL, place INTEGER NOT NULL);
CREATE TABLE runs (
    id TEXT PRIMARY KEY, status TEXT NOT NULL DEFAULT 'pending', reason TEXT NOT NULL DEFAULT '', metric REAL,
    owner TEXT NOT NULL DEFAULT '', beat REAL NOT NULL DEFAULT 0, device TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0, started REAL, finished REAL
);
CREATE TABLE epochs (
    id TEXT NOT NULL, epoch INTEGER NOT NULL, train_loss REAL, val_loss REAL, val_top1 REAL, lr REAL, seconds REAL,
    PRIMARY KEY (id, epoch)
);
CREATE TABLE probes (id TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO about VALUES ('version', '1'), ('base', '"hash"'), ('latency', '{"base": 1.5}'), ('threads', '2');
INSERT INTO plan VALUES (0, 'base', 'hash', 'spec');
INSERT INTO wanted VALUES ('one', 'base', 0, 0), ('two', 'base', 1, 1);
INSERT INTO runs (id, status, metric) VALUES ('one', 'done', 50.0), ('two', 'pending', NULL), ('old', 'done', 40.0);
INSERT INTO epochs VALUES ('one', 1, 1.0, 1.0, 50.0, 0.1, 1.0);
"""


def test_a_journal_of_version_1(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.executescript(VERSION_1)
    journal = Journal(tmp_path)
    assert [(run.cell, run.seed, run.status, run.metric) for run in journal.runs()] == [
        ("base", 0, "done", 50.0),
        ("base", 1, "pending", None),
    ]
    assert journal.study()["latency"] == {"base": 1.5}
    assert journal.about() == {"base": "hash", "threads": 2}
    assert journal.claim("me") is None  # it does not say how the run is to be trained
    journal.set_plan({}, planned(IDENTITY))
    assert others(journal) == (
        "2 runs of an earlier version of metablock are kept in the journal: they do not say all that decides their numbers",
    )
    journal.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("UPDATE about SET value = '99' WHERE key = 'version'")
        connection.commit()
    with pytest.raises(DamagedError, match="written by another version of metablock"):
        Journal(tmp_path)


# Owners and plans


def test_clocks_that_differ(tmp_path: Path):
    """An owner on another machine is judged by whether its signs of life change, by our own clock."""
    journal = Journal(tmp_path)
    journal.set_plan({}, planned(IDENTITY, replace(IDENTITY, seed=1)))
    for who, beat in (("elsewhere:1:1", time.time() + 1e9), ("elsewhere:2:2", time.time() - 600)):
        job = journal.claim(who)
        assert job is not None
        with journal.change() as do:
            do.execute("UPDATE runs SET beat = ? WHERE id = ?", (beat, job.id))
    assert journal.claim(owners.owner()) is None
    assert journal.free_silent(now=0) == 0
    with journal.change() as do:
        do.execute("UPDATE runs SET beat = beat + 1 WHERE owner = 'elsewhere:2:2'")
    assert journal.free_silent(now=SILENT - 1) == 0
    assert journal.free_silent(now=SILENT + 1) == 1  # the one that changed is alive
    freed = journal.claim(owners.owner())
    assert freed is not None
    assert freed.seed == 0
    assert journal.free_silent(now=2 * SILENT + 1) == 1
    journal.close()


def test_two_plans_on_one_journal(tmp_path: Path):
    """Each object claims and counts the runs of its own plan; a job says what is to be trained."""
    other = replace(IDENTITY, recipe={"lr": 0.2})
    one, two = Journal(tmp_path), Journal(tmp_path)
    first = one.set_plan({}, planned(IDENTITY))
    assert two.set_plan({}, planned(other)) != first
    jobs = [journal.claim(owners.owner()) for journal in (one, two)]
    assert [job.identity.recipe["lr"] for job in jobs if job] == [0.1, 0.2]
    assert one.claim(owners.owner()) is None
    for journal, job, metric in zip((one, two), jobs, (10.0, 20.0), strict=True):
        assert job is not None
        journal.finish(job.id, owners.owner(), metric)
    assert [run.metric for journal in (one, two) for run in journal.runs()] == [10.0, 20.0]
    assert others(two) == ("1 run of another recipe is kept in the journal: lr 0.1 there, 0.2 here",)
    assert one.current() == two.plan
    one.close()
    two.close()
    bound = Journal(tmp_path, plan=first)
    assert [run.metric for run in bound.runs()] == [10.0]
    bound.close()
