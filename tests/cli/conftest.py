"""A runner of the command line in this process, and specs small enough to build in no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from metablock.cli import app

TINY = """\
name: tiny
paper: {title: "A [small] network", venue: TEST 2020, arxiv: "2001.00001"}
input: image(3, 32)

let:
  norm: group_norm(1)
  token: pool(3)
  block: res(norm >> token) >> res(norm >> mlp(2))

stem: conv(dim[0], 4, stride=4)
stages:
  depth: [2, 1]
  dim:   [8, 16]
  down:
    - id
    - conv(dim, 3, stride=2)
  body:  depth * block
head: norm >> global_pool >> linear(classes)

variants:
  tiny_a: {}
  tiny_b: {dim: [16, 32]}

facts:
  - [variant, params, macs, reported.params, reported.macs, reported.top1]
  - [tiny_a, 20352, 108160, 0.02M, 0.1M, 70.1]
"""

BROKEN = """\
name: broken
input: image(3, 32)
let:
  norm: group_nrm(1)
stages:
  depth: [2]
  body: depth * res(norm >> pool(3))
head: nrm >> global_pool >> linear(classes)
"""

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("check", path)``: the result of a command. An exception that a person would see as a traceback fails the test."""
    monkeypatch.setenv("COLUMNS", "80")
    runner = CliRunner()

    def invoke(*args: object, input: str | bytes | None = None) -> Result:
        result = runner.invoke(app, [str(arg) for arg in args], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "\x1b" not in result.output
        return result

    return invoke


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verbs print as to a terminal of 80 columns."""
    monkeypatch.setattr("metablock.cli.tables.terminal", lambda: True)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.yaml"
    path.write_text(BROKEN)
    return path
