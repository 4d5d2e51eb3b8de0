"""How learning rates fall towards the input: by the place in the network, as timm groups layers, not by the class of a module."""

from __future__ import annotations

import re

import pytest
import torch
from cases import SPECS, shrunk, smallest

import metablock
from metablock.ablation.optimizer import optimizer_of
from metablock.ablation.recipe import recipe
from metablock.backend.layers import layers
from metablock.language.load import load_text
from oracles import require

HEAD = "head: global_pool >> linear(classes)\n"


def numbers(stages: str) -> dict[str, int]:
    text = f'name: s\ninput: image(3, 32)\nclasses: 9\nlet: {{block: "res(conv(c, 3))"}}\nstem: conv(8, 4, stride=4)\nstages: {stages}\n{HEAD}'
    return layers(metablock.build(load_text(text), device="meta"))


def at(result: dict[str, int], *places: str) -> list[int]:
    """The layers of the weights at some places."""
    return [result[next(name for name in result if name.startswith(f"{place}.") and name.endswith("weight"))] for place in places]


@pytest.mark.parametrize("down", ["conv(16, 2, stride=2)", "layer_norm >> conv(16, 2, stride=2)"])
@pytest.mark.parametrize("end", ["layer_norm", "relu >> layer_norm", "id"])
def test_a_stage_begins_with_its_first_block_and_ends_with_its_last(down: str, end: str) -> None:
    result = numbers(f'{{depth: [2, 3], down: [id, "{down}"], end: "{end}", body: depth * block}}')
    wanted = ["stem", "stages.0.blocks.0", "stages.0.blocks.1", "stages.1.down", "stages.1.blocks.0", "stages.1.blocks.2", "head"]
    assert at(result, *wanted) == [0, 1, 2, 3, 3, 5, 6]
    if end != "id":
        assert at(result, "stages.0.end", "stages.1.end") == [2, 5]


def test_blocks_side_by_side_share_a_layer() -> None:
    text = f"""
name: s
input: image(3, 32)
classes: 9
let: {{block: "res(conv(c, 3))"}}
stem: conv(8, 4, stride=4)
stages:
  body: |
    x ->
      a = x >> 2 * block
      b = x >> 3 * block
      y = a + b >> conv(c, 1)
      return y
{HEAD}"""
    result = layers(metablock.build(load_text(text), device="meta"))
    assert at(result, "stages.0.a.blocks.0", "stages.0.a.blocks.1") == [1, 2]
    assert at(result, "stages.0.b.blocks.0", "stages.0.b.blocks.2", "stages.0.y", "head") == [1, 3, 4, 5]


def test_parts_without_parameters_are_no_layers() -> None:
    result = numbers("{body: 2 * relu >> 2 * block}")
    assert at(result, "stem", "stages.0.blocks.2", "stages.0.blocks.3", "head") == [0, 1, 2, 3]


def test_shared_modules_are_in_the_layer_of_their_first_use() -> None:
    result = layers(metablock.build("cmt_ti", device="meta"))
    for stage in range(4):
        table, first = at(result, f"stages.{stage}.shared.table", f"stages.{stage}.blocks.0")
        assert table == first
    result = layers(metablock.build("cf_deit_small_7", device="meta"))  # two passes through the stages
    blocks = [at(result, f"stages.0.blocks.{i}")[0] for i in range(12)]
    assert blocks == list(range(blocks[0], blocks[0] + 12))
    assert at(result, "shared.logits")[0] > blocks[-1]


def test_a_network_without_sections() -> None:
    text = """
name: s
input: image(3, 32)
classes: 9
let: {block: "res(conv(c, 3))"}
model: |
  x ->
    x = x >> conv(8, 4, stride=4)
    x = x >> 3 * block
    x = x >> layer_norm >> global_pool
    y = x >> linear(classes)
    return y
"""
    result = layers(metablock.build(load_text(text), device="meta"))
    assert sorted(set(result.values())) == [0, 1, 2, 3, 4, 5]
    assert result["y.weight"] == 5
    chain = layers(
        metablock.build(
            load_text("name: s\ninput: image(3, 8)\nmodel: conv(8, 3) >> relu >> conv(8, 3) >> conv(4, 1)"), device="meta"
        )
    )
    assert [*chain.values()] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", SPECS)
def test_every_file_has_layers_from_stem_to_head(name: str) -> None:
    """No gap, and none but stem, head and what is shared lies outside of the stages' layers."""
    model = metablock.build(SPECS[name], variant=smallest(name), device="meta", **shrunk(name, smallest(name)))
    result = layers(model)
    assert set(result) == {key for key, _ in model.named_parameters()}
    assert sorted(set(result.values())) == list(range(max(result.values()) + 1))
    last = max(result.values())
    for key, layer in result.items():
        if key.startswith("stages."):
            assert layer < last or not any(other.startswith("head") for other in result), key
        if re.match(r"stem\b", key):
            assert layer <= 1, key
    coarse = layers(model, coarse=True)
    assert len(set(coarse.values())) <= len(set(result.values()))


def test_the_factors_of_an_optimiser() -> None:
    model = metablock.build("poolformer_s12", edits=["depth = [1, 2, 1, 1]", "dim = [8, 8, 8, 8]"], input="3x64x64")
    chosen, result = recipe("small", layer_decay=0.5), layers(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    last = max(result.values())
    for group in optimizer_of(model, chosen).param_groups:
        for parameter in group["params"]:
            assert group["factor"] == 0.5 ** (last - result[names[id(parameter)]])


# timm: the layers that `param_groups_layer_decay` makes of a model's `group_matcher`. Its final norm is in the last block's layer
# in ViT and Swin, in the head's in ConvNeXt; in BEiT's code and here it is in the head's.
ORACLES = [
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "convnext_tiny",
    "resnet18",
    "mixer_s16_224",
]
FINAL = {"vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s16_224"}


@pytest.mark.parametrize("variant", ORACLES)
def test_the_layers_of_timm(variant: str) -> None:
    """The number of timm's layer of each parameter reaches ours by the rules for weights."""
    timm = require("timm")
    from timm.models import group_parameters

    with torch.device("meta"):
        theirs = timm.create_model(variant)
    their_layers = group_parameters(theirs, theirs.group_matcher(coarse=False), reverse=True)
    marks = {key: torch.zeros(value.shape) for key, value in theirs.state_dict().items()}
    marks |= {key: torch.full(value.shape, float(their_layers[key])) for key, value in theirs.named_parameters()}
    model = metablock.build(variant, weights=marks)
    result = layers(model)
    for key, value in model.named_parameters():
        assert value.min() == value.max(), key
        final = variant in FINAL and key.startswith("head.norm")
        assert result[key] == int(value.min()) + final, key
    assert max(result.values()) == max(their_layers.values())
