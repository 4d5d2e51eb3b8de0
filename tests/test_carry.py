"""``build(weights=model)``: another network's weights, as far as they fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from metablock.errors import MetablockError, MetablockWarning
from metablock.weights.report import WeightsError
from tests.nets import net


def test_the_same_network_takes_all() -> None:
    other = net(seed=1)
    model = net(weights=other)  # warnings are errors
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert model.loaded is not None and model.loaded.complete and model.loaded.initial == []


def test_what_is_new_keeps_its_initial_values() -> None:
    other, fresh = net(seed=1), net(seed=2, edits="body = res(attention(2, pos=relative_bias)) >> res(mlp(2))")
    with pytest.warns(MetablockWarning, match=r"4 of \d+ parameters of 'net' keep their initial values: stages"):
        model = net(seed=2, edits="body = res(attention(2, pos=relative_bias)) >> res(mlp(2))", weights=other)
    assert model.loaded is not None
    assert len(model.loaded.initial) == 4
    theirs = other.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name] if name in model.loaded.initial else theirs[name])


def test_first_and_last_layers_and_tables_are_adapted() -> None:
    other = net(seed=1)
    model = net(seed=2, weights=other, input=(1, 48, 48), edits="classes = 7")
    assert model.loaded is not None
    assert torch.allclose(model.stem.conv.weight, other.stem.conv.weight.sum(1, keepdim=True))
    assert {name.partition(" ")[0] for name in model.loaded.adapted} == {
        "stem.conv.weight",
        "head.linear.weight",
        "head.linear.bias",
    }
    assert "stem.position.weight" in model.loaded.resized or any("position" in name for name in model.loaded.resized)


def test_weights_of_another_shape_stay_behind() -> None:
    other = net(seed=1)
    with pytest.warns(MetablockWarning, match="keep their initial values"):
        model = net(weights=other, edits="body = res(attention(2, head_dim=8, pos=relative_bias))")
    assert model.loaded is not None
    assert any("qkv" in name for name in model.loaded.wrong)


def test_any_module_with_fitting_names_will_do() -> None:
    plain = nn.Module()
    plain.head = nn.Module()
    plain.head.linear = nn.Linear(8, 5)
    with pytest.warns(MetablockWarning):
        model = net(weights=plain)
    assert torch.equal(model.head.linear.weight, plain.head.linear.weight)


def test_another_dtype_is_converted() -> None:
    other = net(dtype="float64", seed=1)
    model = net(weights=other)
    assert torch.equal(model.head.linear.weight, other.head.linear.weight.float())


def test_the_source_keeps_its_weights() -> None:
    other = net(seed=1)
    model = net(weights=other)
    with torch.no_grad():
        model.head.linear.weight.zero_()
    assert other.head.linear.weight.any()


def test_the_difference_says_what_is_loaded() -> None:
    a, b = metablock.load_text(_SMALL), metablock.load_text(_SMALL.replace("relu", "relu >> conv(8, 3)"))
    result = metablock.diff(a, b)
    with pytest.warns(MetablockWarning):
        model = metablock.build(b, weights=metablock.build(a))
    assert model.loaded is not None
    assert result.weights.same == len(model.loaded.used)
    assert set(result.weights.only_b) == set(model.loaded.initial)


_SMALL = "name: n\ninput: image(3, 8)\nmodel: conv(8, 3) >> relu >> global_pool >> linear(4)\n"


def test_nothing_fits() -> None:
    with pytest.raises(WeightsError):
        net(weights=nn.Linear(3, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": nn.ReLU()}, "hold no tensors"),
        ({"weights": nn.Linear(3, 3), "names": "ours"}, "`names=` is for checkpoints"),
    ],
)
def test_mistakes(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(MetablockError, match=message):
        net(**arguments)


def test_a_network_on_meta_has_no_weights() -> None:
    with pytest.raises(MetablockError, match="there are no weights on 'meta'"):
        net(weights=net(device="meta"))
    assert net(weights=net(), device="meta").loaded is not None
