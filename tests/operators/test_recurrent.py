"""Recurrent layers: torch's own, along any axis; their initial values, roles and costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from metablock.backend.block import Block
from metablock.backend.costs import macs
from metablock.backend.roles import roles
from metablock.language.load import load_text
from oracles import check_gradients, randomised_state

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}


def build(model: str, entering: str = "image(3, 4, 5)", init: str = "", **arguments: object) -> Block:
    text = f"name: tiny\ninput: {entering}\nmodel: {model}\n" + (f"init: {{{init}}}\n" if init else "")
    return metablock.build(load_text(text), **arguments).eval()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("over", "axis"), [("rows", 2), ("columns", 1), (None, None)])
def test_along_an_axis(name: str, bidirectional: bool, over: str | None, axis: int | None) -> None:
    where = f', over="{over}"' if over else ""
    net = build(f"{name}(6, bidirectional={str(bidirectional).lower()}{where})")
    layer = net.get_submodule(name)
    assert type(layer) is LAYERS[name]
    x = torch.randn(2, 3, 4, 5)
    grid = x.movedim(1, -1)
    if axis is None:
        expected = layer(grid.flatten(1, 2))[0].unflatten(1, (4, 5))
    else:
        moved = grid.movedim(axis, 2)
        expected = layer(moved.flatten(0, 1))[0].unflatten(0, (2, -1)).movedim(2, axis)
    torch.testing.assert_close(net(x), expected)
    assert net(x).shape == (2, 4, 5, 12 if bidirectional else 6)


def test_other_sizes_are_the_same_network() -> None:
    net = build('lstm(6, over="rows")')
    assert net(torch.randn(1, 3, 7, 9)).shape == (1, 7, 9, 6)


def test_volumes_windows_and_shared_layers() -> None:
    net, x = build("gru(5, over=1)", "volume(3, 2, 4, 3)"), torch.randn(2, 3, 2, 4, 3)
    moved = x.permute(0, 2, 4, 3, 1)
    expected = net.gru(moved.flatten(0, 2))[0].unflatten(0, (2, 2, 3)).permute(0, 1, 3, 2, 4)
    torch.testing.assert_close(net(x), expected)
    net, x = build("window(2, gru(5))", "image(3, 4, 4)"), torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(net(x)[:, :2, :2].flatten(1, 2), net.gru(x[:, :, :2, :2].flatten(2).mT)[0])
    text = "name: n\ninput: image(3, 4)\nshared: {along: 'lstm(3, over=\"rows\")'}\nmodel: along >> along\n"
    net = metablock.build(load_text(text))
    assert len(list(net.parameters())) == 4
    check(net, torch.randn(2, 3, 4, 4))


def check(net: Block, x: torch.Tensor) -> None:
    net.train()(x).square().sum().backward()
    check_gradients(net)


def test_parameters() -> None:
    """Decayed are the matrices, not the constants; counted are the products of each position and direction."""
    net = build('lstm(6, "rows", bidirectional=true) >> gru(4, bias=false)', device="meta")
    kinds = roles(net)
    assert {name.rpartition(".")[2].split("_")[0]: role for name, role in kinds.items()} == {"weight": "matrix", "bias": "bias"}
    assert len(kinds) == 8 + 2
    counted = macs(net, torch.empty(1, 3, 4, 5, device="meta"))
    assert counted["lstm"] == 20 * 2 * 4 * 6 * (3 + 6)
    assert counted["gru"] == 20 * 3 * 4 * (12 + 4)
    assert counted[""] == counted["lstm"] + counted["gru"]


def test_counts_are_those_of_what_torch_runs() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    net = build('lstm(6, "rows", bidirectional=true) >> gru(4)', device="meta")
    x = torch.empty(2, 3, 4, 5, device="meta")
    with FlopCounterMode(display=False) as counter:
        net(x)
    assert counter.get_total_flops() == 2 * macs(net, x)[""]


def test_initial_values() -> None:
    """A rule for the layer sets its matrices and zeroes its constants; one for a parameter reaches both directions."""
    net = build('lstm(6, "rows", bidirectional=true)', init="lstm: ones")
    values = dict(net.lstm.named_parameters())
    assert all(bool((value == (1 if name.startswith("weight") else 0)).all()) for name, value in values.items())
    net = build('lstm(6, "rows", bidirectional=true)', init="lstm.weight_ih: zeros, lstm.bias_hh: ones")
    values = dict(net.lstm.named_parameters())
    assert all(not value.any() for name, value in values.items() if name.startswith("weight_ih"))
    assert all(bool((value == 1).all()) for name, value in values.items() if name.startswith("bias_hh"))
    assert all(bool(value.any()) for name, value in values.items() if name.startswith(("weight_hh", "bias_ih")))
    same, other = build("gru(6)"), build("dropout(0.1) >> gru(6)", seed=1)
    assert torch.equal(build("gru(6)").gru.weight_ih_l0, same.gru.weight_ih_l0)
    assert not torch.equal(other.gru.weight_ih_l0, same.gru.weight_ih_l0)


def test_double_frozen_meta_and_state() -> None:
    net = build("frozen(gru(6))", dtype=torch.float64)
    assert net.gru.weight_hh_l0.dtype == torch.float64
    assert not any(p.requires_grad for p in net.parameters())
    there = build("gru(6)", device="meta").to_empty(device="cpu")
    randomised_state(there)
    other = build("gru(6)")
    other.load_state_dict(there.state_dict())
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(other(x), there(x))
    assert torch.equal(metablock.build(other.spec, weights=there.state_dict()).eval()(x), there(x))
