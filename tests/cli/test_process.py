"""The command line as a process: how it starts, how it ends, what it brings along."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import metablock


def python(*args: object, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, timeout=120, **more)  # type: ignore[call-overload, no-any-return]


# Runs a command and prints what the command line brings along, how the command ended, and whether torch came with it.
WATCH = """
import json, sys
from metablock.cli import main
before = [name for name in ("torch", "pydantic", "rich") if name in sys.modules]
sys.argv = ["metablock", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    status = end.code
print(json.dumps([before, status, "torch" in sys.modules]))
"""


def watched(*args: object) -> tuple[list[str], int, bool]:
    done = python("-c", WATCH, *args)
    return tuple(json.loads(done.stdout.splitlines()[-1]))  # type: ignore[return-value]


def test_names_need_no_torch(tiny, broken):
    assert watched("check", "--no-shapes", tiny) == ([], 0, False)
    assert watched("check", "--no-shapes", broken)[1:] == (2, False)
    assert watched("list")[1:] == (0, False)


def test_as_a_module():
    done = python("-m", "metablock", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"metablock {metablock.__version__}\n", "")


def test_a_closed_pipe_is_quiet():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "metablock", "list", "--operators"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_interrupted(run, tiny, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metablock.report.check.check", interrupt)
    result = run("check", tiny)
    assert (result.exit_code, result.output) == (130, "")


def test_help(run):
    result = run("--help")
    assert result.exit_code == 0
    for verb in ("check", "build", "show", "list"):
        assert f"  {verb} " in result.stdout
        told = run(verb, "--help")
        assert told.exit_code == 0
        assert f"\n    metablock {verb} " in told.stdout, "an example"
        assert max(map(len, told.stdout.splitlines())) <= 100


def test_nothing_asked(run):
    result = run()
    assert result.exit_code == 2
    assert "Usage: metablock" in result.output or "Usage: " in result.output
