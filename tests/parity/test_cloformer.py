"""CloFormer. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, cross_entropy, scaled_dot_product_attention, silu

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 2, 1]", "width = [16, 32, 64, 128]"]


@pytest.mark.parametrize("stage", [0, 2])
def test_heads_of_two_kinds(stage: int) -> None:
    """Some heads weigh a place by its own query and key, the others attend to a pooled map."""
    model = metablock.build("cloformer", edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    randomised_state(model)
    token, c, heads, few = model.stages[stage].blocks[0].token, 16 << stage, [4, 4, 8][stage], [3, 2, 4][stage]
    d, pool = c // heads, 8 >> stage
    x = torch.randn(2, c, 16, 24, dtype=torch.float64)
    local, far = token.mixers.local, token.mixers.far
    k = local.qkv.dw.kernel_size[0]
    assert k == 3 + 2 * stage
    q, k, v = conv2d(local.qkv.pw(x), local.qkv.dw.weight, local.qkv.dw.bias, padding=k // 2, groups=3 * few * d).chunk(3, 1)
    near = torch.tanh(local.a.pw2(silu(local.a.pw1(q * k))) / d**0.5) * v
    q, kv = far.q(x.flatten(2).mT), far.kv(avg_pool2d(x, pool).flatten(2).mT)
    q, k, v = (t.unflatten(-1, (heads - few, d)).transpose(1, 2) for t in (q, *kv.chunk(2, -1)))
    rest = scaled_dot_product_attention(q, k, v).mT.flatten(1, 2).unflatten(-1, (16, 24))
    with torch.no_grad():
        assert relative_error(token(x), token.pw(torch.cat([near, rest], 1))) < 1e-9


@pytest.mark.parametrize(("variant", "part"), [("no_global", "local"), ("global", "far")])
def test_heads_of_one_kind(variant: str, part: str) -> None:
    model = metablock.build("cloformer", variant=variant, device="meta")
    assert {name for stage in model.stages for block in stage.blocks for name, _ in block.token.mixers.named_children()} == {part}


def test_training_step() -> None:
    model = metablock.build("cloformer", input=(3, 64, 96), classes=10, edits=[*SMALL, "drop = ramp(0.1)"]).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
