"""Modules of `shared:` are parts like any other: what is registered is what runs."""

from __future__ import annotations

import copy
import importlib.util
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.backend.block import Block
from metablock.language.load import load_text

# By where the module is shared: its path, and how the spec says it.
PLACES = {
    "top level": ("shared.mix", "shared: {mix: linear(8)}", "depth * res(mix)"),
    "top level, once": ("shared.mix", "shared: {mix: linear(8)}", "depth * res(layer_norm) >> mix"),
    "a stage": ("stages.0.shared.mix", "stage", "depth * res(mix)"),
    "nested": ("shared.mix", "shared: {mix: linear(8), outer: layer_norm >> mix}", "depth * res(outer)"),
}


def network(where: str = "top level") -> Block:
    _, shared, body = PLACES[where]
    inside = "\n  shared: {mix: linear(c)}" if shared == "stage" else ""
    text = (
        f"name: s\ninput: image(3, 16)\nclasses: 5\n{'' if inside else shared}\nstem: conv(8, 4, stride=4)\n"
        f"stages:\n  depth: 2{inside}\n  body: {body}\nhead: global_pool >> linear(classes)\n"
    )
    return metablock.build(load_text(text)).eval()


class Zero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def swapped(model: nn.Module, path: str) -> nn.Module:
    """The model with :class:`Zero` in this place."""
    model.set_submodule(path, Zero())
    return model


def output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16))


def through_pickle(model: Block) -> Block:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    other: Block = torch.load(buffer, weights_only=False)
    return other


def silenced(model: nn.Module, path: str) -> Tensor:
    """What the network gives if the shared module gives zeros, by a hook."""
    part = model.get_submodule(path)
    hook = part.register_forward_hook(lambda _m, _a, result: torch.zeros_like(result))
    expected = output(model)
    hook.remove()
    return expected


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("way", [lambda m: m, copy.deepcopy, through_pickle, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_replaced_module_runs(where: str, way: Callable[[Block], Block]) -> None:
    path, model = PLACES[where][0], network(where)
    before, expected, names = output(model), silenced(model, path), list(model.state_dict())
    assert not torch.equal(before, expected)
    other = way(model)
    assert list(other.state_dict()) == names
    assert torch.equal(output(swapped(other, path)), expected)
    if other is not model:
        assert torch.equal(output(model), before)  # a copy has shared modules of its own
        assert torch.equal(output(way(other)), expected)
    other(torch.randn(1, 3, 16, 16)).sum().backward()
    assert other.get_submodule(path).weight.grad is not None


def test_every_way_to_put_a_module_in() -> None:
    expected = silenced(network(), "shared.mix")
    for put in (
        lambda m: m.shared.__setitem__("mix", Zero()),
        lambda m: setattr(m.shared, "mix", Zero()),
        lambda m: m.shared._modules.__setitem__("mix", Zero()),
        lambda m: setattr(m, "shared", nn.ModuleDict({"mix": Zero()})),
        lambda m: m.set_submodule("shared", nn.ModuleDict({"mix": Zero()})),
        lambda m: m.add_module("shared", nn.ModuleDict({"mix": Zero()})),
        lambda m: m.register_module("shared", nn.ModuleDict({"mix": Zero()})),
    ):
        model = network()
        put(model)
        assert torch.equal(output(model), expected)
        assert torch.equal(output(copy.deepcopy(model)), expected)


def test_a_part_that_is_copied_alone_takes_the_shared_modules_with_it() -> None:
    model = network("a stage")
    stage = copy.deepcopy(model.stages[0])
    x = torch.randn(1, 8, 4, 4)
    expected = model.stages[0](x)
    assert torch.equal(stage(x), expected)
    stage.shared["mix"] = Zero()
    assert torch.equal(stage(x), x) and torch.equal(model.stages[0](x), expected)


def test_conversions_reach_the_modules_that_run() -> None:
    model = network("nested").double()
    assert {
        part.weight.dtype for block in model.modules() for part in getattr(block, "links", {}).values() if hasattr(part, "weight")
    } == {torch.float64}
    assert model(torch.randn(1, 3, 16, 16, dtype=torch.float64)).dtype == torch.float64
    assert network("nested").to("meta")(torch.empty(2, 3, 16, 16, device="meta")).shape == (2, 5)


def test_other_parameters_for_one_call() -> None:
    model = network()
    other = {name: torch.zeros_like(value) for name, value in model.named_parameters() if name.startswith("shared.")}
    x = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(torch.func.functional_call(model, other, (x,)), silenced(model, "shared.mix"))


@pytest.mark.parametrize("when", ["before", "after"])
def test_compiled(when: str) -> None:
    model = network()
    expected = silenced(model, "shared.mix")
    if when == "before":
        swapped(model, "shared.mix")
    compiled = metablock.compile(model, backend="eager")
    output(compiled)
    if when == "after":
        swapped(model, "shared.mix")
    torch.testing.assert_close(output(compiled), expected)


def test_traced() -> None:
    model = network()
    model.shared["mix"] = nn.Tanh()
    traced = torch.fx.symbolic_trace(model)
    assert torch.equal(output(traced), output(model))
    assert "shared.mix" in {node.target for node in traced.graph.nodes if node.op == "call_module"}


def test_in_the_maps() -> None:
    model = network("a stage")
    maps = metablock.features(model)
    swapped(maps, "stages.0.shared.mix")
    (seen,) = output(maps)[-1:]
    assert torch.equal(seen, model.stem(torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)))


def test_in_a_deployed_network() -> None:
    model = swapped(metablock.reparameterize(network()), "shared.mix")
    torch.testing.assert_close(output(model), silenced(network(), "shared.mix"))


@pytest.mark.parametrize("where", PLACES)
def test_in_a_written_file(where: str, tmp_path: Path) -> None:
    path, model = PLACES[where][0], network(where)
    metablock.write(model, tmp_path / "net.py")
    spec = importlib.util.spec_from_file_location("net", tmp_path / "net.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.Model().eval()
    written.load_state_dict(model.state_dict())
    torch.testing.assert_close(output(written), output(model))
    torch.testing.assert_close(output(swapped(written, path)), silenced(model, path))
