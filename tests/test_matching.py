"""Rules that are proposed for foreign checkpoints: as many tensors as the shipped rules place, and every kind of difference."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import metablock
from metablock.language.format import show_spec
from metablock.language.load import load_text
from metablock.language.uses import without_unused
from metablock.language.weight_rules import read_rules
from metablock.report.options import BuildOptions
from metablock.report.weights import match_weights
from metablock.weights.loading import load_weights, network_of
from metablock.weights.matching import Proposal, propose
from metablock.weights.matching.numbers import follows
from metablock.weights.matching.pairing import pair
from oracles import require

NET = """
name: net
input: image(3, 16)
classes: 5
let:
  norm: layer_norm
  shrink: conv(dim, 2, stride=2)
  token: attention(2)
  block: res(norm >> token) >> res(norm >> mlp(2))
stem: conv(8, 4, stride=4)
stages:
  depth: [1, 2]
  dim:   [8, 16]
  down:  [id, shrink]
  body:  depth * block
head: global_pool >> linear(classes)
"""
APART = NET.replace("attention(2)", "attention(2, q=linear(c), k=linear(c), v=linear(c))")


def placed(proposal: Proposal, spec: metablock.Spec, model: torch.nn.Module) -> dict[str, str]:
    """For each of our tensors what the proposed rules make it of."""
    rules, network = read_rules(spec.with_(weights={"theirs": proposal.table}), "theirs"), network_of(model, spec)
    matches = {name: rules.find(name, network) for name in model.state_dict()}
    return {name: " ++ ".join(key.fill(match[1]) for key in match[0].keys) for name, match in matches.items() if match}


# Of the tensors that the shipped rules place, how many the proposed ones place alike: with the order of registration, and without.
AS_SHIPPED = [
    ("resnet18", 1.0, 1.0),
    ("vit_tiny_patch16_224", 1.0, 1.0),
    ("swin_tiny_patch4_window7_224", 1.0, 1.0),
    ("convnext_tiny", 1.0, 1.0),
    ("mobilenetv3_small_050", 1.0, 1.0),
    ("poolformer_s12", 1.0, 1.0),
    ("caformer_s18", 1.0, 1.0),
    ("coatnet_0_224", 1.0, 1.0),
    ("inception_next_atto", 1.0, 0.75),  # two branches of one shape, which only order tells apart
    ("crossvit_tiny_240", 0.9, 0.9),
    ("volo_d1_224", 0.97, 0.97),
]


@pytest.mark.parametrize(("name", "ordered", "by_name"), AS_SHIPPED, ids=[row[0] for row in AS_SHIPPED])
def test_as_many_as_the_shipped_rules_place(name: str, ordered: float, by_name: float) -> None:
    timm = require("timm")
    model = metablock.build(name, device="meta")
    with torch.device("meta"):
        state = timm.create_model(name, num_classes=model.spec.classes).state_dict()
    wanted = {key: value for key, value in load_weights(model, state, model.spec).used.items() if "num_batches" not in key}
    for content, share in ((state, ordered), (dict(sorted(state.items())), by_name)):
        proposal = propose(model, content, model.spec)
        rules = placed(proposal, model.spec, model)
        alike = sum(rules.get(key) == value for key, value in wanted.items())
        assert alike >= share * len(wanted), [key for key, value in wanted.items() if rules.get(key) != value][:9]
        assert len(proposal.table.rules) < 45


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_035"])
def test_a_file_is_matched_and_loaded(name: str, tmp_path) -> None:
    """The text is YAML to paste; the spec that has it takes the file, with the outputs that the shipped rules give."""
    timm = require("timm")
    torch.manual_seed(0)
    file = tmp_path / "theirs.safetensors"
    save_file({key: value.contiguous() for key, value in timm.create_model(name).state_dict().items()}, file)
    proposal = match_weights(str(file), BuildOptions(name), "mine")
    assert proposal.complete and proposal.sorted and proposal.used == proposal.ours == proposal.theirs
    assert proposal.fits_already in ("timm", "torchvision")
    shipped = metablock.build(name, weights=file).eval()
    bare = show_spec(without_unused(metablock.resolved(name)).with_(weights={}))
    pasted = metablock.build(load_text(f"{bare}\n{proposal.yaml}"), weights=file, names="mine").eval()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(shipped(x), pasted(x))


def renamed(net: str, **names: str) -> tuple[torch.nn.Module, dict[str, Tensor]]:
    """A network, and its state dict with other words in its names."""
    model = metablock.build(load_text(net))
    state = {}
    for key, value in model.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        state[key] = value
    return model, state


def test_blocks_that_are_counted_through() -> None:
    model, state = renamed(NET)
    counted = {"0.blocks.0": "features.1", "1.blocks.0": "features.3", "1.blocks.1": "features.4", "1.down": "features.2"}
    for ours, theirs in counted.items():
        state = {key.replace(f"stages.{ours}.", f"{theirs}."): value for key, value in state.items()}
    table = {rule.ours: rule.theirs for rule in propose(model, state, model.spec).table.rules}
    assert table["stages.{i}.blocks.{j}.*"] == "features.{layer(i, j) + i + 1}.*"
    assert table["stages.1.down.*"] == "features.2.*"
    again = metablock.build(model.spec.with_(weights={"theirs": propose(model, state, model.spec).table}), weights=state)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def split(state: dict[str, Tensor], names: str = "qkv") -> dict[str, Tensor]:
    """With q, k and v apart."""
    result = {}
    for key, value in state.items():
        if ".qkv." not in key:
            result[key] = value
            continue
        for name, part in zip(names, value.chunk(3), strict=True):
            result[key.replace(".qkv.", f".{name}_proj.")] = part
    return result


def assert_taken(model: torch.nn.Module, state: dict[str, Tensor]) -> dict[str, str]:
    """The rules that bring the state back to the bit."""
    proposal = propose(model, state, model.spec)
    again = metablock.build(model.spec.with_(weights={"theirs": proposal.table}), weights=state, names="theirs", seed=9)
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    return {rule.ours: rule.theirs for rule in proposal.table.rules}


def test_packed_projections() -> None:
    model, state = renamed(NET)
    table = assert_taken(model, split(state))
    parts = [f"stages.{{i}}.blocks.{{j}}.token.{name}_proj.*" for name in "qkv"]
    assert table["stages.{i}.blocks.{j}.token.qkv.*"] == " ++ ".join(parts)
    apart, _ = renamed(APART)
    state = {}
    for key, value in apart.state_dict().items():
        state[key.replace(".q.", ".qkv.")] = value
        if ".q." in key:
            parts_here = [apart.state_dict()[key.replace(".q.", f".{name}.")] for name in "qkv"]
            state[key.replace(".q.", ".qkv.")] = torch.cat(parts_here)
    state = {key: value for key, value in state.items() if ".k." not in key and ".v." not in key}
    table = assert_taken(apart, state)
    assert table["stages.{i}.blocks.{j}.token.k.*"] == "stages.{i}.blocks.{j}.token.qkv.* | chunk(1, 3)"


def test_names_outweigh_the_order() -> None:
    """As in CLIP: k, v and q are registered in this order."""
    model, state = renamed(APART)
    keys = sorted(state, key=lambda key: (key.split(".q.")[0].split(".k.")[0].split(".v.")[0], ".q." in key))
    keys = [key for key in state if ".q." not in key] + [key for key in keys if ".q." in key]
    assert_taken(model, {key: state[key] for key in keys})


def test_transposed_weights() -> None:
    model, state = renamed(NET)
    state = {key: value.T if value.dim() == 2 else value for key, value in state.items()}
    state = {key: value.permute(2, 3, 1, 0) if value.dim() == 4 else value for key, value in state.items()}
    table = assert_taken(model, state)
    assert table["stages.{i}.blocks.{j}.mlp.linear{k}.weight"].endswith("| transpose")
    assert table["stem.weight"].endswith("| permute(3, 2, 0, 1)")


def test_packed_and_transposed() -> None:
    model, state = renamed(NET)
    table = assert_taken(model, {key: value.T if value.dim() == 2 else value for key, value in split(state).items()})
    parts = [f"(stages.{{i}}.blocks.{{j}}.token.{name}_proj.weight | transpose)" for name in "qkv"]
    assert table["stages.{i}.blocks.{j}.token.qkv.weight"] == " ++ ".join(parts)


def test_what_is_left_over_is_ignored_and_said() -> None:
    model, state = renamed(NET)
    state["stages.0.blocks.0.token.index"] = torch.arange(4)
    state["stages.1.blocks.1.token.mask"] = torch.ones(3, 7)
    proposal = propose(model, {"model": {f"module.{key}": value for key, value in state.items()}}, model.spec)
    assert set(proposal.table.ignore) == {"*.index", "*.mask"}
    assert proposal.pairing.theirs == ["stages.1.blocks.1.token.mask"]
    del state["head.linear.bias"]
    proposal = propose(model, state, model.spec)
    assert proposal.pairing.ours == ["head.linear.bias"]
    assert proposal.table.ignore == ("*.index",), "what may be a partner is not ignored while one is wanted"


def test_other_classes_and_channels() -> None:
    model, state = renamed(NET)
    other = metablock.build(model.spec, classes=9, input=(1, 16, 16))
    proposal = propose(other, state, other.spec)
    report = load_weights(other, state, other.spec.with_(weights={"theirs": proposal.table}), "theirs")
    assert len(report.adapted) == 3


def test_layers_that_only_order_tells_apart_are_listed() -> None:
    ours = {"a.x.weight": (4, 4), "a.y.weight": (4, 4), "a.z.weight": (8, 4)}
    pairing = pair(ours, {"b.left.weight": (4, 4), "b.right.weight": (4, 4), "b.z.weight": (8, 4)})
    assert pairing.by_order == ["a.x.weight", "a.y.weight"]
    assert not pair(ours, {"b.x.weight": (4, 4), "b.y.weight": (4, 4), "b.z.weight": (8, 4)}).by_order
    numbered = pair({"a.norm1.weight": (4,), "a.norm2.weight": (4,)}, {"b.ln_1.weight": (4,), "b.ln_2.weight": (4,)})
    assert not numbered.by_order
    swapped = pair(ours, {"b.y.weight": (4, 4), "b.x.weight": (4, 4), "b.z.weight": (8, 4)})
    assert swapped.by_names == ["a.x.weight", "a.y.weight"] and swapped.pairs[0].theirs == ("b.x.weight",)


def test_numbers() -> None:
    assert follows([(0,), (1,), (2,)], [4, 3, 2], ["i"], [], None) == "4 - i"
    assert follows([(0, 0), (0, 1), (1, 0)], [0, 1, 3], ["i", "j"], [2, 1], (0, 1)) == "layer(i, j) + i"
    assert follows([(0,), (1,), (2,)], [0, 1, 4], ["i"], [], None) is None
    assert follows([(3,), (5,)], [7, 7], ["i"], [], None) == "7"
