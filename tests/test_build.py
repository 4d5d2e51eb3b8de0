"""A built model is an ordinary module."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import metablock
from metablock.api import example
from metablock.backend.block import Block
from metablock.front import parse_input
from metablock.language.load import load_text
from metablock.language.param_names import TAKEN

TINY = """
name: tiny
input: image(3, 32)
let:
  norm: layer_norm
  token: pool(3)
  channel: mlp(2)
  block: res(norm >> token, scale=1e-5) >> res(norm >> channel)
stem: conv(dim[0], 4, stride=4) >> norm
stages:
  depth: [2, 1]
  dim: [8, 16]
  drop: ramp(0.1)
  down: [id, merge]
  body: depth * block
head: norm >> global_pool >> linear(classes)
init: {linear: trunc_normal(0.02), head.linear.bias: ones}
""".replace("merge", "conv(dim, 2)").replace("[id, conv(dim, 2)]", "id if stage == 0 else conv(dim, 2, stride=2)")


def tiny(**options) -> Block:
    return metablock.build(load_text(TINY, "tiny.yaml"), classes=5, **options)


def answer(model: nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, 32, 32))


def test_copies_and_pickles() -> None:
    model = tiny()
    expected = answer(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(answer(other), expected)
        assert [p.data_ptr() for p in other.parameters()] != [p.data_ptr() for p in model.parameters()]
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = tiny(seed=1)
    assert not torch.equal(answer(other), expected)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(answer(other), expected)


def test_names_come_from_slots() -> None:
    names = list(tiny(device="meta").state_dict())
    assert names[:4] == ["stem.conv.weight", "stem.conv.bias", "stem.norm.weight", "stem.norm.bias"]
    block = [name.removeprefix("stages.1.blocks.0.") for name in names if name.startswith("stages.1.blocks.0.")]
    assert block == [
        "norm1.weight", "norm1.bias", "scale.weight", "norm2.weight", "norm2.bias",
        "channel.linear1.weight", "channel.linear1.bias", "channel.linear2.weight", "channel.linear2.bias",
    ]  # fmt: skip
    assert "stages.1.down.weight" in names and "head.linear.bias" in names


def test_names_that_modules_have_are_known() -> None:
    taken = {n for n in {*dir(nn.ModuleDict()), *dir(tiny(device="meta")), *Block.__annotations__} if not n.startswith("__")}
    assert taken - {"stem", "stages", "head"} <= TAKEN


def test_meta_allocates_nothing() -> None:
    assert all(t.is_meta for t in tiny(device="meta").state_dict().values())


def test_values_depend_on_seed_and_path_alone() -> None:
    state, same, other = tiny().state_dict(), tiny().state_dict(), tiny(seed=1).state_dict()
    assert all(torch.equal(state[name], same[name]) for name in state)
    assert not torch.equal(state["stem.conv.weight"], other["stem.conv.weight"])
    swapped = tiny(edits=["stages[0].token = attention(2)", "depth = [3, 1]"]).state_dict()
    common = [name for name in state if name in swapped]
    assert len(common) == len(state)
    assert all(torch.equal(state[name], swapped[name]) for name in common)
    double = tiny(dtype=torch.float64).state_dict()
    assert all(torch.equal(state[name].double(), double[name]) for name in state)


def test_init_rules() -> None:
    state = tiny().state_dict()
    assert state["stages.0.blocks.0.channel.linear1.bias"].eq(0).all()
    assert state["head.linear.bias"].eq(1).all()
    assert 0.01 < state["stages.0.blocks.0.channel.linear1.weight"].std() < 0.03
    assert state["stem.conv.bias"].ne(0).any()  # no rule: torch's own


def test_hooks_see_every_block_compiled_or_not() -> None:
    model = tiny()
    seen: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, Block):
            module.register_forward_hook(lambda _m, _i, _o, name=name: seen.append(name))
    answer(model)
    assert "stages.0.blocks.1" in seen and "stages.1.blocks.0.token" in seen


def test_a_copy_of_a_compiled_model_is_eager() -> None:
    model = metablock.compile(tiny(), backend="eager")
    expected = answer(model)
    other = pickle.loads(pickle.dumps(model))
    assert all(block._compiled_call_impl is None for block in other.modules())
    assert torch.equal(answer(other), expected)
    assert torch.equal(answer(copy.deepcopy(model)), expected)


def test_reads_like_the_spec() -> None:
    text = repr(tiny())
    assert "0-1: 2 * res(norm >> token, scale=1e-5) >> res(norm >> channel)" in text
    assert "linear1: linear(16)" in text


def test_convolutional_networks_run_on_any_size() -> None:
    assert tiny()(torch.randn(1, 3, 48, 40)).shape == (1, 5)


@pytest.mark.parametrize(("text", "grid"), [("3x24", (24,)), ("3x16x24", (16, 24)), ("3x24x32x24", (24, 32, 24))])
def test_every_rank(text: str, grid: tuple[int, ...]) -> None:
    model = tiny(input=text)
    assert parse_input(text).grid == grid
    assert model(*example(model, 2)).shape == (2, 5)


@pytest.mark.parametrize("text", ["3", "3x", "3x0x4", "ax3", "3x4x5x6x7"])
def test_bad_input(text: str) -> None:
    with pytest.raises(metablock.MetablockError, match="is no input size\n  write channels and extents"):
        tiny(input=text)


def test_unknown_architecture() -> None:
    with pytest.raises(metablock.MetablockError, match="unknown architecture 'poolfromer_s12'\n  did you mean 'poolformer_s12'"):
        metablock.build("poolfromer_s12")


def test_three_mistakes_three_places() -> None:
    wrong = TINY.replace("pool(3)", "pol(3)").replace("mlp(2)", "mlp(2, rate=1)").replace("conv(dim[0], 4,", "conv(dim[0], 4.5,")
    with pytest.raises(metablock.SpecError) as caught:
        metablock.build(load_text(wrong, "wrong.yaml"))
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "wrong.yaml:6:10: unknown operator 'pol'\n      token: pol(3)\n             ^^^\n  did you mean 'pool'?" in text
    assert "wrong.yaml:7:19: 'mlp' has no argument 'rate'" in text
    assert "wrong.yaml:9:20: 'kernel' of 'conv' must be a whole number" in text


def test_a_stage_without_parts_is_still_a_stage() -> None:
    model = tiny(edits=["depth = [0, 1]"])
    assert isinstance(model.stages, nn.ModuleList) and len(model.stages) == 2
    assert answer(model).shape == (2, 5)
