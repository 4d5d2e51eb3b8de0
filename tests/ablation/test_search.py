"""Search: Optuna proposes, the journal remembers, the front is what nothing beats."""

from __future__ import annotations

from pathlib import Path

import pytest

from metablock.ablation.journal import Journal
from metablock.ablation.results import Epoch
from metablock.ablation.run import prepare_search
from metablock.ablation.search import search
from metablock.ablation.study import Study
from metablock.api import build
from metablock.errors import MetablockError

pytest.importorskip("optuna")

SPEC = """\
name: open
input: image(1, 16)
classes: 10
let:
  token: one_of(pool(3), dw(3), attention(2), attention(3))
  channel: one_of(mlp(1), mlp(2), mlp(4))
stem: conv(dim[0], 4, stride=4)
stages:
  depth: [1]
  dim:   [16]
  body:  depth * (res(token) >> res(channel))
head: global_pool >> linear(classes)
"""
SCORES = {"pool(3)": 10.0, "dw(3)": 30.0, "attention(2)": 25.0, "mlp(1)": 0.0, "mlp(2)": 5.0, "mlp(4)": 6.0}


def pretend(journal: Journal) -> None:
    """Runs without training: a network's score is the sum of its parts'."""
    while (job := journal.claim("me")) is not None:
        score = sum(value for part, value in SCORES.items() if f"= {part}" in job.cell)
        journal.record(job.id, Epoch(1, 1.0, 1.0, score, 0.1, 0.1))
        journal.finish(job.id, "me", score)


@pytest.fixture
def prepared(tmp_path: Path):
    (tmp_path / "open.yaml").write_text(SPEC)
    return prepare_search(Study("open", str(tmp_path / "open.yaml"), seeds=(0,), input="1x16x16"))


def test_the_front(prepared, tmp_path: Path):
    front, every = search(prepared, tmp_path / "s", pretend, trials=100)
    assert len(every) == 12  # the grid is smaller than what was asked for
    assert sum(not trial.values for trial in every) == 3  # 3 heads do not divide 16
    assert all("heads do not divide" in trial.cell.problem for trial in every if not trial.values)
    best = [trial for trial in every if trial.values]
    for trial in front:
        assert not any(
            other.values["top1"] >= trial.values["top1"]
            and other.values["macs"] <= trial.values["macs"]
            and other.values != trial.values
            for other in best
        )
    assert front[0].name == "token = dw(3), channel = mlp(4)"
    files = sorted((tmp_path / "s" / "front").glob("*.yaml"))
    assert len(files) == len(front)
    for file in files:
        build(file, device="meta")
    assert "| token = dw(3), channel = mlp(4) | 36 |" in (tmp_path / "s" / "front" / "front.md").read_text()


def test_it_goes_on(prepared, tmp_path: Path):
    ran: list[str] = []

    def count(journal: Journal) -> None:
        before = {run.cell for run in journal.runs() if run.status == "done"}
        pretend(journal)
        ran.extend(run.cell for run in journal.runs() if run.status == "done" and run.cell not in before)

    search(prepared, tmp_path / "s", count, trials=4)
    first = list(ran)
    _, every = search(prepared, tmp_path / "s", count, trials=7)
    assert len(every) == 7
    assert len(ran) == len(set(ran))  # nothing ran twice
    assert len(ran) > len(first)


def test_three_objectives(prepared, tmp_path: Path):
    front, _ = search(prepared, tmp_path / "s", pretend, trials=4, objectives=("top1", "params", "latency"))
    assert all(set(trial.values) == {"top1", "params", "latency"} for trial in front)
    assert all(trial.values["latency"] > 0 for trial in front)


def test_bad_objectives(prepared, tmp_path: Path):
    with pytest.raises(MetablockError, match=r"unknown objective 'mac'\n  did you mean 'macs'"):
        search(prepared, tmp_path / "s", pretend, trials=4, objectives=("top1", "mac"))
    with pytest.raises(MetablockError, match=r"a front needs accuracy and a cost"):
        search(prepared, tmp_path / "s", pretend, trials=4, objectives=("macs", "params"))
