"""The examples run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import metablock
from metablock.api import example
from metablock.catalogue.lookup import open_spec
from metablock.front import check

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / name))


def test_my_backbone() -> None:
    spec, _ = open_spec(EXAMPLES / "my_backbone.yaml")
    assert not check(spec)
    model = metablock.build(spec, device="meta")
    assert sum(p.numel() for p in model.parameters()) < 10e6


@pytest.mark.parametrize(
    ("name", "input", "edit"),
    [
        ("ecg.yaml", "12x2500", "token = pool(9)"),
        ("volume.yaml", "1x16x64x32", "stages[-1].token = window([2, 4, 4], attention(dim // 32, pos=relative_bias))"),
    ],
)
def test_signals_and_volumes(name: str, input: str, edit: str) -> None:
    spec, _ = open_spec(EXAMPLES / name)
    assert not check(spec)
    for model in (metablock.build(spec), metablock.build(spec, input=input, edits=[edit])):
        model(*example(model, 2)).square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_an_image_network_for_signals() -> None:
    model = metablock.build("poolformer_s12", input="12x512", classes=5, edits=["depth = [1, 1, 1, 1]"]).eval()
    assert model(*example(model, 2)).shape == (2, 5)


def test_swap_mixers(capsys) -> None:
    load("swap_mixers.py")["main"]("poolformer_s12")
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["pool(3)", "11.92M", "1.81G"]
    assert len(lines) == 7


def test_train() -> None:
    assert load("train.py")["main"](steps=20, compiled=False) < 0.7


def test_segment() -> None:
    assert load("segment.py")["main"](steps=60) > 0.4
