"""A disk that is full: nothing is lost, nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# A disk that is full


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """On a file system of one mebibyte: nothing is lost, nothing is left, and each writer says the same."""
    script = Path(__file__).parent / "full_disk.py"
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {disk} && exec {sys.executable} {script} {disk}"
    try:
        able = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here")
    if able.returncode:
        pytest.skip("no file system can be mounted here")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) >= 8
    for name, result in results.items():
        first, hint = result["text"].splitlines()
        assert first.endswith(f"{name}: the disk is full"), (name, result)
        assert hint.startswith("  nothing was written; the file that was there is unchanged"), (name, result)
        assert result["kept"] and result["left"] == [], (name, result)
