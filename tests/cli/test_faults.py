"""An exception that nobody foresaw: a line that says so, status 1; the traceback on request."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from metablock.cli import app
from metablock.errors import MAX_LINE, MetablockError, error


def test_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pattern: str | None) -> None:
        raise KeyError("recipe")

    monkeypatch.setattr("metablock.report.catalogue.rows", fail)
    monkeypatch.setenv("METABLOCK_TRACEBACK", "")
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit) and result.stdout == ""
    assert result.stderr.startswith(
        "this is a fault of metablock: KeyError: 'recipe'\n  report it, with the command and the traceback"
    )
    monkeypatch.setenv("METABLOCK_TRACEBACK", "1")
    assert isinstance(CliRunner().invoke(app, ["list"]).exception, KeyError)


def test_long_texts_lack_their_middle() -> None:
    text = "`" + "a + " * 10_000 + "b` is no number"
    for wrong in (MetablockError(text), error(text)):
        assert len(str(wrong)) <= MAX_LINE and str(wrong).startswith("`a + ") and str(wrong).endswith(" b` is no number")
