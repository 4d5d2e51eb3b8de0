"""``metablock fmt``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

GOOD = "metablock: 1\nname: n\ninput: image(3, 8)\n\nstages:\n  depth: 1\n  dim:   8\n  body:  dw(3)  # why\n"


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    path = tmp_path / "n.yaml"
    path.write_text("input:  image(3, 8)\nname: n\nstages:\n   depth: 1\n   dim: 8\n   body: dw( 3 ) # why\n")
    return path


def test_a_file(run, loose: Path):
    result = run("fmt", str(loose))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{loose} is formatted\n"
    assert loose.read_text() == GOOD
    again = run("fmt", str(loose))
    assert (again.exit_code, again.stderr) == (0, "")


def test_check_writes_nothing(run, loose: Path):
    before = loose.read_text()
    result = run("fmt", "--check", str(loose))
    assert (result.exit_code, result.stderr) == (1, f"{loose} would be formatted\n")
    assert loose.read_text() == before
    loose.write_text(GOOD)
    assert run("fmt", "--check", str(loose)).exit_code == 0


def test_standard_input(run, loose: Path):
    result = run("fmt", "-", input=loose.read_text())
    assert (result.exit_code, result.stdout) == (0, GOOD)
    assert run("fmt", "--check", "-", input=loose.read_text()).exit_code == 1
    assert run("fmt", "-", input=GOOD).stdout == GOOD


def test_a_bad_file_does_not_stop_the_others(run, loose: Path, tmp_path: Path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: n\ninput: image(3, 8\n")
    result = run("fmt", str(bad), str(tmp_path / "missing.yaml"), str(tmp_path), str(loose))
    assert result.exit_code == 2
    assert f"{bad}:2:" in result.stderr
    assert "there is no file" in result.stderr
    assert "is a directory" in result.stderr
    assert loose.read_text() == GOOD
    assert bad.read_text() == "name: n\ninput: image(3, 8\n"


def test_permissions_and_links_stay(run, loose: Path, tmp_path: Path):
    loose.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(loose)
    assert run("fmt", str(link)).exit_code == 0
    assert link.is_symlink()
    assert stat.S_IMODE(loose.stat().st_mode) == 0o640
    assert loose.read_text() == GOOD


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(run, loose: Path, tmp_path: Path):
    tmp_path.chmod(0o500)
    result = run("fmt", str(loose))
    tmp_path.chmod(0o700)
    assert result.exit_code == 2
    assert "cannot write" in result.stderr
