"""CoAtNet against timm: by the paper's table, and its own redesigns, on rectangular images. All eight kinds of its blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, gelu, linear, max_pool2d

import metablock
from oracles import check_gradients, exact_log_distances, randomised_state, relative_error, require

timm = require("timm")
maxxvit = timm.models.maxxvit
SIZE = (64, 96)
EDITS = ["depth = [1, 2, 2, 1]", "dim = [32, 64, 96, 128]", "stem_dim = [24, 32]"]
VARIANTS = [
    "coatnet_0_224", "coatnet_0_rw_224", "coatnet_1_rw_224", "coatnet_3_rw_224", "coatnet_bn_0_rw_224", "coatnet_rmlp_1_rw_224",
    "coatnet_rmlp_2_rw_224", "coatnet_nano_rw_224",
]  # fmt: skip


def oracle(variant: str) -> nn.Module:
    """timm's with the same edits."""
    given = maxxvit.model_cfgs[variant.removesuffix("_224")]
    hidden = 128 if given.head_hidden_size else None
    config = replace(given, embed_dim=(32, 64, 96, 128), depths=(1, 2, 2, 1), stem_width=(24, 32), head_hidden_size=hidden)
    model = maxxvit.MaxxVit(config, img_size=SIZE, num_classes=10)
    randomised_state(model)
    model.double().eval()
    exact_log_distances(model)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_timm(variant: str) -> None:
    theirs = oracle(variant)
    model = metablock.build(
        "coatnet", variant=variant, input=(3, *SIZE), classes=10, edits=EDITS, weights=theirs.state_dict(), dtype=torch.float64
    ).eval()
    x = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), theirs(x)) < 1e-9


def test_the_other_implementation() -> None:
    """chinhsuanwu's MBConv strides in the first 1x1; its attention norms behind the pool, and has eight heads of any width."""
    model = metablock.build("coatnet", variant="chinhsuanwu_coatnet_0", input=(3, *SIZE), edits=EDITS, dtype=torch.float64).eval()
    randomised_state(model)
    block, x = model.stages[0].blocks[0], torch.randn(2, 32, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        wide = gelu(block.expand.conv_bn.bn(conv2d(block.bn(x), block.expand.conv_bn.conv.weight, stride=2)))
        wide = gelu(block.mix.bn(conv2d(wide, block.mix.dw.weight, padding=1, groups=4 * 32)))
        gate = linear(gelu(linear(wide.mean((2, 3)), block.gate.linear1.weight)), block.gate.linear2.weight).sigmoid()
        y = block.project.bn(conv2d(wide * gate[..., None, None], block.project.conv.weight))
        y = y + conv2d(max_pool2d(x, 3, 2, 1), block.skip.pw.weight)
        assert relative_error(block(x), y) < 1e-9

        block, x = model.stages[2].blocks[0], torch.randn(2, 64, 8, 12, dtype=torch.float64)
        y = max_pool2d(x, 3, 2, 1).permute(0, 2, 3, 1)
        y = linear(y, block.skip.pw.weight.flatten(1)) + block.token(block.norm1(y))
        y = y + block.channel(block.norm2(y))
        assert relative_error(block(x), y.permute(0, 3, 1, 2)) < 1e-9
    assert block.token.qkv.weight.shape == (3 * 8 * 32, 64)
    assert block.channel.linear1.weight.shape == (4 * 64, 96)


@pytest.mark.parametrize("variant", ["coatnet_0_224", "coatnet_rmlp_1_rw_224", "chinhsuanwu_coatnet_0"])
def test_training_step(variant: str) -> None:
    model = metablock.build("coatnet", variant=variant, input=(3, *SIZE), classes=10, edits=EDITS).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, *SIZE)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
