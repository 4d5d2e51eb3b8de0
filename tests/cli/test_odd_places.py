"""Folders and files that are none: a pipe, a device, a folder, a link to itself. Nothing waits, nothing is read without end."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from odd import said
from typer.testing import CliRunner

from metablock.ablation.checkpoint import check_place
from metablock.ablation.identity import Identity
from metablock.ablation.journal import Journal, Planned
from metablock.cli import app
from metablock.errors import MetablockError
from metablock.files import write_whole
from metablock.language.yaml.reader import head

NET = "name: n\ninput: image(1, 8)\nclasses: 10\nmodel: conv(4, 3) >> global_pool >> linear(classes)\n"
FILES = {
    "check": ["check", "{}"],
    "fmt": ["fmt", "{}"],
    "table": ["table", "{}"],
    "new --from": ["new", "other", "--from", "{}"],
    "ablate": ["ablate", "{}", "--dry-run"],
    "build --weights": ["build", "net.yaml", "--no-compile", "--weights", "{}"],
    "build -o": ["build", "net.yaml", "--no-compile", "-o", "{}"],
    "probe --data npz": ["probe", "net.yaml", "--data", "npz:{}"],
    "probe --data folder": ["probe", "net.yaml", "--data", "folder:{}"],
    "train --data": ["train", "net.yaml", "--data", "npz:{}"],
    "train -o": ["train", "net.yaml", "--data", "npz:gone.npz", "-o", "{}"],
    "weights match": ["weights", "match", "{}", "net.yaml"],
    "show --weights": ["show", "net.yaml", "--as", "names", "--weights", "{}"],
    "weights import": ["weights", "import", "{}", "net.yaml", "-o", "to.safetensors"],
    "weights import -o": ["weights", "import", "gone.pth", "net.yaml", "-o", "{}"],
    "weights export": ["weights", "export", "{}", "--to", "timm", "-o", "to.safetensors"],
    "weights export -o": ["weights", "export", "net.yaml", "--weights", "gone.pth", "--to", "timm", "-o", "{}"],
    "weights export --weights": ["weights", "export", "net.yaml", "--weights", "{}", "--to", "timm", "-o", "to.pth"],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(NET)


@pytest.fixture
def places() -> list[str]:
    Path("folder").mkdir()
    Path("file").write_text("x")
    names = ["", " ", "folder", "/dev/null", "/dev/zero", "/dev/full", "file/x", "x" * 300, "a\0b", "\udc80", "\x1b[31m"]
    for suffix in ("yaml", "safetensors", "pth", "npz"):
        Path(f"loop.{suffix}").symlink_to(f"loop.{suffix}")
        Path(f"zero.{suffix}").symlink_to("/dev/zero")
        Path(f"memory.{suffix}").symlink_to("/proc/self/mem")
        os.mkfifo(f"pipe.{suffix}")
        names += [f"{kind}.{suffix}" for kind in ("loop", "zero", "memory")]
    return [*names, "pipe.safetensors", "pipe.pth", "pipe.npz"]


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, places: list[str]) -> None:
    for place in places:
        if name.endswith("-o") and "/dev/" in os.path.realpath(place.replace("\0", "")):
            continue  # a test that fails must not replace a device
        arguments = [part.replace("{}", place) for part in FILES[name]]
        result = CliRunner().invoke(app, arguments)
        assert said(*arguments) == result.output or result.exit_code == 0, arguments
        assert "\x1b" not in result.output, arguments
        if "-o" not in name and place.startswith(("zero", "pipe", "loop", "memory")):
            assert result.exit_code == 2, (arguments, result.output)


def test_pipes() -> None:
    """A pipe is read as far as its writer goes; one without a writer is no file."""
    os.mkfifo("pipe.yaml")
    assert "cannot read 'pipe.yaml': nobody writes to this pipe" in said("check", "pipe.yaml")
    writer = threading.Thread(target=lambda: Path("pipe.yaml").write_text(NET))
    writer.start()
    assert "\nname: n\n" in said("show", "pipe.yaml")
    writer.join()
    assert head("/dev/zero", 10) == bytes(10)


@pytest.mark.parametrize("name", ["pipe.safetensors", "pipe.py", "link.safetensors"])
def test_what_is_no_file_is_not_replaced(name: str) -> None:
    os.mkfifo("pipe.py")
    os.mkfifo("pipe.safetensors")
    Path("link.safetensors").symlink_to("pipe.safetensors")
    assert "cannot write there: it is no ordinary file" in said("build", "net.yaml", "--no-compile", "-o", name)
    with pytest.raises(MetablockError, match="cannot write there: it is no ordinary file"):
        write_whole(Path(name), "text")
    with pytest.raises(MetablockError, match="no ordinary file"):
        check_place(Path(name))
    assert Path(name).is_fifo()


@pytest.mark.parametrize("option", ["--weights", "-o"])
def test_an_empty_path(option: str) -> None:
    assert said("build", "net.yaml", "--no-compile", option, "").startswith(
        f"{'--output' if option == '-o' else option} is empty\n  name a file or a folder"
    )


# Folders


def plan(folder: str, about: dict[str, object] | None = None, change: str = "") -> None:
    journal = Journal(Path(folder))
    journal.set_plan(about or {}, [Planned(Identity("hash", {}, {}, {}, seed=0), "base", "name: mini")])
    journal.close()
    if change:
        with closing(sqlite3.connect(f"{folder}/journal.sqlite")) as connection:
            connection.execute(change)
            connection.commit()


def test_folders() -> None:
    """Whatever a folder holds: a line, status 2, and nothing is written there."""
    Path("file").write_text("x")
    Path("empty").mkdir()
    for name in ("foreign", "folder_inside", "pipe_inside", "garbage"):
        Path(name).mkdir()
    with closing(sqlite3.connect("foreign/journal.sqlite")) as connection:
        connection.execute("CREATE TABLE a (b)")
        connection.commit()
    Path("folder_inside/journal.sqlite").mkdir()
    os.mkfifo("pipe_inside/journal.sqlite")
    Path("garbage/journal.sqlite").write_bytes(b"hello" * 1000)
    Journal(Path("unplanned")).close()
    plan("of_an_empty_identity")
    plan("of_another_form", {"study": {}, "cells": {}})
    plan("of_numbers", {"study": 3, "cells": {"cells": []}})
    plan("of_a_list", change="UPDATE plans SET about = '[]'")
    plan("of_half_a_text", change="UPDATE plans SET about = '['")
    plan("of_half_an_identity", change="UPDATE runs SET identity = '{'")
    plan("of_no_spec", change="DELETE FROM specs")
    names = [*(path.name for path in Path().iterdir() if path.name != "net.yaml"), "", "gone", "a\0b", "x" * 300, "\udc80"]
    before = sorted(Path().rglob("*"))
    recovered = set()
    for name in names:
        for arguments in (["report", name], ["report", name, "--recover"], ["report", name, "--copy", "copy"], ["work", name]):
            result = CliRunner().invoke(app, arguments)
            fine = name.startswith(("of_", "unplanned")) and ("--copy" in arguments or "--recover" in arguments)
            if "journal.damaged.sqlite" in result.output:
                recovered.add(name)  # its plan or its runs are to be entered again
            idle = arguments[0] == "work" and (name == "unplanned" or name in recovered)
            assert result.exit_code == 2 or fine or idle, (arguments, result)
            said(*arguments)
    assert sorted(path for path in Path().rglob("*") if "copy" not in path.parts and "damaged" not in path.name) == before


@pytest.mark.parametrize("name", ["", "gone", "empty"])
def test_a_worker_needs_a_study(name: str) -> None:
    """A worker makes no journal where none is."""
    Path("empty").mkdir()
    assert ("there is no study in" in said("work", name)) == bool(name)
    assert not Path("gone").exists() and not list(Path("empty").iterdir()) and not Path("journal.sqlite").exists()
