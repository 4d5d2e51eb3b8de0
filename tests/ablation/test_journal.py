"""The journal when the disk is full, or the file is not a journal: a message, and what was written stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from metablock.ablation.journal import Journal
from metablock.ablation.results import Epoch
from metablock.errors import MetablockError


def test_a_full_disk(tmp_path: Path):
    journal = Journal(tmp_path)
    journal.set_about({"study": {"name": "x"}})
    journal.set_plan([("base", "h", "spec")], [("id", "base", 0)])
    assert journal.claim("me", "cpu") is not None
    journal.record("id", Epoch(1, 1.0, 1.0, 50.0, 0.1, 1.0))
    pages = journal.connection.execute("PRAGMA page_count").fetchone()[0]
    journal.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(MetablockError, match=r"the disk is full\n  the journal is as it was; make room, and start again"):
        journal.set_about({"study": {"name": "y"}, "large": "z" * 100_000})
    journal.close()
    again = Journal(tmp_path)
    assert again.about() == {"study": {"name": "x"}}
    assert [len(run.epochs) for run in again.runs()] == [1]
    again.set_about({"large": "z" * 100_000})
    again.close()


def test_no_journal(tmp_path: Path):
    (tmp_path / "journal.sqlite").write_bytes(b"something else, long enough to be looked at as a header" * 99)
    with pytest.raises(MetablockError, match="this is not a journal of metablock"):
        Journal(tmp_path)
