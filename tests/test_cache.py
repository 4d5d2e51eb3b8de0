"""The cache on disk: what comes back, and that it is never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metablock import cache
from metablock.cache import digest, load, store

KEY = digest("key")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_stored_is_loaded(folder: Path):
    assert load("kind", KEY) is None
    store("kind", KEY, b"data")
    assert load("kind", KEY) == b"data"
    assert load("other", KEY) is None and load("kind", digest("other")) is None
    store("kind", KEY, b"")
    assert load("kind", KEY) == b""
    assert [path.name for path in (folder / "kind").iterdir()] == [KEY]


@pytest.mark.parametrize("value", ["0", "off", " False ", "no"])
def test_it_can_be_switched_off(folder: Path, monkeypatch: pytest.MonkeyPatch, value: str):
    store("kind", KEY, b"data")
    monkeypatch.setenv(cache.VARIABLE, value)
    assert cache.folder() is None and load("kind", KEY) is None
    store("kind", KEY, b"data")
    assert not Path(value).exists()


def test_it_lies_where_caches_of_the_user_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "metablock"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.folder() == tmp_path / "home" / ".cache" / "metablock"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        lambda data: b"",
        lambda data: b"another program's",
    ],
)
def test_a_broken_entry_is_a_miss_and_is_replaced(folder: Path, spoil):
    store("kind", KEY, b"data")
    file = folder / "kind" / KEY
    file.write_bytes(spoil(file.read_bytes()))
    assert load("kind", KEY) is None
    store("kind", KEY, b"data")
    assert load("kind", KEY) == b"data"


def test_what_others_may_write_is_not_read(folder: Path):
    store("kind", KEY, b"data")
    file = folder / "kind" / KEY
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    file.chmod(0o620)
    assert load("kind", KEY) is None
    file.chmod(0o600)
    assert load("kind", KEY) == b"data"
    other = folder / "kind" / digest("link")
    other.symlink_to(file)
    assert load("kind", other.name) is None
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
        assert load("kind", KEY) is None


def test_a_folder_that_others_may_write_is_not_written(folder: Path):
    (folder / "kind").mkdir(parents=True)
    (folder / "kind").chmod(0o777)
    store("kind", KEY, b"data")
    assert not list((folder / "kind").iterdir())


def test_a_pipe_is_no_entry(folder: Path):
    (folder / "kind").mkdir(parents=True)
    os.mkfifo(folder / "kind" / KEY)
    assert load("kind", KEY) is None


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / place)
    store("kind", KEY, b"data")
    assert load("kind", KEY) is None


def test_a_failed_write_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    store("kind", KEY, b"data")
    assert load("kind", KEY) is None and not list((folder / "kind").iterdir())


def test_too_large_an_entry_is_not_stored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "MAX_ENTRY", 100)
    store("kind", KEY, bytes(100))
    assert load("kind", KEY) is None
    store("kind", KEY, bytes(50))
    assert load("kind", KEY) == bytes(50)


def test_the_oldest_entries_go(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "MAX_KIND", 1000)
    keys = [digest(str(number)) for number in range(6)]
    now = time.time()
    for age, key in enumerate(reversed(keys)):
        store("kind", key, bytes(120))
        os.utime(folder / "kind" / key, (now - 10 + age, now - 10 + age))
    left = folder / "kind" / f"{KEY}.1.aa"
    left.write_bytes(b"from a process that died")
    os.utime(left, (now - 9999, now - 9999))
    store("kind", KEY, bytes(120))
    assert load("kind", KEY) is not None, "the newest stays"
    assert 0 < len(list((folder / "kind").iterdir())) <= 4
    assert load("kind", keys[-1]) is None and load("kind", keys[0]) is not None
    assert not left.exists()


def test_an_entry_in_use_is_not_the_oldest(folder: Path):
    store("kind", KEY, b"data")
    os.utime(folder / "kind" / KEY, (1e9, 1e9))
    assert load("kind", KEY) == b"data"
    assert (folder / "kind" / KEY).stat().st_mtime > 1.5e9


def test_processes_share_it(folder: Path):
    """Two processes write the same entries at once; a third reader sees whole entries only."""
    code = (
        "import sys; from metablock.cache import *\n"
        "for n in range(200): store('kind', digest(str(n % 5)), bytes([n % 5]) * 50_000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    seen: set[int] = set()
    while any(writer.poll() is None for writer in writers):
        for n in range(5):
            data = load("kind", digest(str(n)))
            assert data is None or data == bytes([n]) * 50_000
            seen.add(n) if data else None
    assert [writer.returncode for writer in writers] == [0, 0]
    assert all(load("kind", digest(str(n))) for n in range(5)) and seen <= set(range(5))
    assert len(list((folder / "kind").iterdir())) == 5


def test_the_fingerprint_knows_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    package = tmp_path / "metablock"
    (package / "language").mkdir(parents=True)
    (package / "cache.py").write_text("")
    (package / "language" / "load.py").write_text("a = 1")
    (tmp_path / "grammars").mkdir()
    (tmp_path / "grammars" / "standard.yaml").write_text("a: relu")
    (tmp_path / "architectures").mkdir()
    fingerprint = cache.fingerprint.__wrapped__
    monkeypatch.setattr(cache, "__file__", str(package / "cache.py"))
    monkeypatch.setattr(cache, "_STARTED", time.time() + 100)
    first = fingerprint()
    assert first is not None and first == fingerprint()
    (tmp_path / "grammars" / "standard.yaml").write_text("a: relu6")
    second = fingerprint()
    assert second not in (None, first)
    (package / "language" / "edits.py").write_text("")
    assert fingerprint() not in (None, first, second)
    monkeypatch.setattr(cache, "_STARTED", time.time() - 100)
    assert fingerprint() is None, "the process began before the file was written"
