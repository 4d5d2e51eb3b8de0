"""The rows of `list` are kept on disk, and read from the files where the entry is broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metablock import cache
from metablock.report import catalogue


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(cache, "fingerprint", lambda: "code")
    catalogue.every.cache_clear()
    yield tmp_path / catalogue.KIND
    catalogue.every.cache_clear()


def test_rows_come_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = catalogue.rows("swin*")
    catalogue.every.cache_clear()
    with monkeypatch.context() as no_files:
        no_files.setattr(catalogue, "_rows", lambda: iter(()))
        assert catalogue.rows("swin*") == read
    catalogue.every.cache_clear()
    cache.store(catalogue.KIND, "code", b'[{"name": 3}]')
    assert catalogue.rows("swin*") == read
