"""Weights that are constants: ``constant(a)``, and the frozen batch norm."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import metablock
from metablock.backend import costs
from metablock.errors import SpecError
from metablock.language.load import load_text
from metablock.writers.outputs import write
from oracles import randomised_state

NET = "name: n\ninput: image(3, 8)\nmodel: conv(4, 3, bias=false) >> constant(batch_norm(1e-3) >> conv(4)) >> relu >> conv(2)"


def test_a_constant_norm_is_torchs_in_evaluation_whatever_the_mode() -> None:
    model = metablock.build(load_text("name: n\ninput: image(3, 8)\nmodel: constant(batch_norm(1e-3))"))
    assert list(model.state_dict()) == [f"batch_norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    assert not list(model.parameters())
    randomised_state(model)
    same = torch.nn.BatchNorm2d(3, 1e-3).eval()
    same.load_state_dict(model.batch_norm.state_dict(), strict=False)
    x, before = torch.randn(2, 3, 8, 8), {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(model.train()(x), same(x)) and torch.equal(model.eval()(x), same(x))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_of_any_module_become_buffers_and_keep_their_names(tmp_path: Path) -> None:
    model, free = (metablock.build(load_text(text)) for text in (NET, NET.replace("constant(", "(")))
    assert [name for name in free.state_dict() if "num_batches" not in name] == list(model.state_dict())
    assert sorted(name for name, _ in model.named_parameters()) == ["conv1.weight", "conv3.bias", "conv3.weight"]
    assert costs.parameters(model) == (27 * 4 + 8 + 2, 0)
    assert torch.equal(model.conv2.weight, free.conv2.weight)  # drawn alike
    randomised_state(model)
    x = torch.randn(2, 3, 8, 8)
    model(x).sum().backward()
    assert model.conv1.weight.grad is not None
    write(model, tmp_path / "net.py")
    spec = importlib.util.spec_from_file_location("net", tmp_path / "net.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plain = module.Model()
    plain.load_state_dict(model.state_dict())
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert torch.allclose(plain(x), model(x), atol=1e-6)
    merged = metablock.reparameterize(model.eval())
    assert torch.allclose(merged(x), model(x), atol=1e-5) and len(list(merged.parameters())) == 4


def test_a_recurrent_layer_has_no_constant_weights() -> None:
    with pytest.raises(SpecError, match="the weights of `gru` cannot be buffers"):
        metablock.build(load_text("name: n\ninput: signal(3, 8)\nmodel: constant(gru(4))"))
