"""The examples run."""

from __future__ import annotations

import runpy
from pathlib import Path

import metablock
from metablock.api import check, open_spec

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / name))


def test_my_backbone() -> None:
    spec, _ = open_spec(EXAMPLES / "my_backbone.yaml")
    assert not check(spec)
    model = metablock.build(spec, device="meta")
    assert sum(p.numel() for p in model.parameters()) < 10e6


def test_swap_mixers(capsys) -> None:
    load("swap_mixers.py")["main"]("poolformer_s12")
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["pool(3)", "11.92M", "1.81G"]
    assert len(lines) == 7


def test_train() -> None:
    assert load("train.py")["main"](steps=20, compiled=False) < 0.7
