"""Training in several processes: what no gradient reaches, and the same numbers as in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import metablock
from metablock.ablation.reach import check_batch, unreached
from metablock.ablation.training import logits_of
from metablock.api import build
from metablock.language.load import load_text

PLAIN = "name: spare\ninput: image(1, 16)\nclasses: 10\nstem: conv(8, 4, stride=4) >> unused(4)\nstages: {body: 2 * pw(8)}\nhead: global_pool >> linear(classes)\n"


def reached(spec: str) -> set[str]:
    model, meta = (build(load_text(spec), device=device) for device in ("cpu", "meta"))
    return unreached(model, meta, logits_of)


def test_what_no_gradient_reaches() -> None:
    assert reached(PLAIN) == {"stem.unused.weight"}
    assert reached(PLAIN.replace(">> unused(4)", "")) == set()
    model, meta = (
        build("gcvit_xxtiny", edits=["depth = [1, 1, 1, 1]", "dim = [32, 64, 96, 128]"], input="3x64x64", device=device)
        for device in ("cpu", "meta")
    )
    names = unreached(model, meta, logits_of)
    model.train()(torch.randn(2, 3, 64, 64)).sum().backward()
    assert names == {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert names


def test_a_copy_is_asked_where_nothing_runs_without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, meta = (build(load_text(PLAIN), device=device) for device in ("cpu", "meta"))
    monkeypatch.setattr(type(meta), "__call__", lambda self, x: nn.Module.__call__(self, x + 0 * float(x.sum())))
    before, state = torch.random.get_rng_state(), {key: value.clone() for key, value in model.state_dict().items()}
    assert unreached(model, meta, logits_of) == {"stem.unused.weight"}
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_batch_norm_of_one_value() -> None:
    text = "name: q\ninput: image(1, 8)\nclasses: 10\nmodel: conv(8, 8, stride=8) >> bn >> global_pool >> linear(classes)"
    meta = build(load_text(text), device="meta")
    check_batch(meta, 2)
    with pytest.raises(
        metablock.MetablockError, match=r"a batch norm gets one value a channel from a batch of 1.*\n  a larger batch"
    ):
        check_batch(meta, 1)
    check_batch(build(load_text(text.replace("stride=8", "padding=4")), device="meta"), 1)


def test_processes_train_what_one_would(tmp_path: Path) -> None:
    (tmp_path / "spare.yaml").write_text(PLAIN)
    words = ["train", "spare.yaml", "--epochs", "1", "--with", "shift=0", "--with", "optimizer=sgd", "--with", "batch=256"]
    root = Path(metablock.__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    many = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "metablock"]
    for command, file in ((many, "two.safetensors"), ([sys.executable, "-m", "metablock"], "one.safetensors")):
        result = subprocess.run([*command, *words, "-o", file], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]
    one, two = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors")
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5), name
