"""Studies that are killed again and again, two on one folder, a disk that fills up: not one number differs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


def soak(folder: Path, *words: object, before: tuple[str, ...] = ()) -> str:
    command = [*before, sys.executable, str(SOAK), str(folder), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_kills_at_any_moment(tmp_path: Path):
    """Of the command, of a worker, of all: fifty; METABLOCK_SOAK says how many others, by other seeds."""
    count, seed = int(os.environ.get("METABLOCK_SOAK", "50")), int(os.environ.get("METABLOCK_SOAK_SEED", "0"))
    assert f"{count} kills" in soak(tmp_path, "kills", count, seed)


def test_two_recipes_on_one_folder_at_once(tmp_path: Path):
    assert soak(tmp_path, "two") == "both recipes, every number the same\n"


def mount(folder: Path, size: int) -> tuple[str, ...]:
    """The beginning of a command that sees a small disk on a folder. Skips where nothing may be mounted."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    inner = f'mount -t tmpfs -o size={size} small "{folder}" && exec "$@"'
    before = ("unshare", "-rm", "sh", "-c", inner, "sh")
    done = subprocess.run([*before, "true"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()}")
    return before


def test_a_disk_that_fills_up(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    before = mount(disk, 4 << 20)
    assert "full disks, every number the same" in soak(tmp_path, "full", disk, before=before)
