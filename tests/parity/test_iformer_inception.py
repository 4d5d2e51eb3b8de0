"""iFormer. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, gelu, interpolate, linear, max_pool2d, scaled_dot_product_attention

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 2, 1]", "dim = [48, 96, 128, 160]", "heads = [1, 2, 2 if index < 1 else 3, 4]"]


@pytest.mark.parametrize("stage", [1, 3])
def test_inception_mixer(stage: int) -> None:
    """The first channels to convolution and pool, the last to attention, which the first two stages pool for; by torch alone."""
    model = metablock.build("iformer_inception", edits=SMALL, input=(3, 64, 128), dtype=torch.float64).eval()
    randomised_state(model)
    token, low, height = model.stages[stage].blocks[0].token, (32, 64, 64, 128)[stage], 16 >> stage
    c = token.pw.weight.shape[0]
    high = (c - low) // 2
    x = torch.randn(2, c, height, 2 * height, dtype=torch.float64)
    local = conv2d(x[:, :high], token.local.pw.weight)
    local = gelu(conv2d(local, token.local.dw.weight, padding=1, groups=2 * high))
    peaks = gelu(conv2d(max_pool2d(x[:, high : 2 * high], 3, 1, 1), token.peaks.pw.weight, token.peaks.pw.bias))
    smooth = x[:, 2 * high :] if stage > 1 else avg_pool2d(x[:, 2 * high :], 2)
    projection = token.smooth.qkv if stage > 1 else token.smooth.attn.qkv
    qkv = linear(smooth.flatten(2).mT, projection.weight, projection.bias)
    q, k, v = qkv.unflatten(2, (3, low // 32, 32)).permute(2, 0, 3, 1, 4)
    smooth = scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2).view_as(smooth)
    y = torch.cat([local, peaks, smooth if stage > 1 else interpolate(smooth, scale_factor=2)], 1)
    y = y + conv2d(y, token.fuse.dw.weight, padding=1, groups=y.shape[1])
    expected = conv2d(y, token.pw.weight, token.pw.bias)
    with torch.no_grad():
        assert relative_error(token(x.flatten(2).mT).view_as(x), expected) < 1e-9


def test_frequency_ramp() -> None:
    """From stage to stage, and once inside the third, more heads; layer scale in the last two stages alone."""
    model = metablock.build("iformer_inception", device="meta")
    blocks = [block for stage in model.stages for block in stage.blocks]
    widths = [(b.token.smooth.attn if hasattr(b.token.smooth, "attn") else b.token.smooth).qkv.weight.shape[1] for b in blocks]
    assert [width // 32 for width in widths] == [1] * 3 + [3] * 3 + [7] * 4 + [9] * 5 + [11] * 3
    assert [hasattr(block, "scale1") for block in blocks] == [False] * 6 + [True] * 12


def test_positions_are_resized_on_loading() -> None:
    """A checkpoint at 64 brought to 96: bilinear, as the official code does on the way; on rectangular maps too."""
    state = metablock.build("iformer_inception", edits=SMALL, input=(3, 64, 64)).state_dict()
    model = metablock.build("iformer_inception", edits=SMALL, input=(3, 96, 128), weights=state)
    theirs = state["stages.1.down.embed.position.weight"].view(1, 8, 8, 96).permute(0, 3, 1, 2)
    expected = interpolate(theirs, (12, 16), mode="bilinear").flatten(2).mT
    assert relative_error(model.stages[1].down.embed.position.weight, expected) < 1e-6


def test_training_step() -> None:
    model = metablock.build("iformer_inception", input=(3, 64, 128), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 128)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
