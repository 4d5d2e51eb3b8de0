"""Conv2Former. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, gelu

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 1, 1]", "dim = [8, 16, 24, 32]"]


@pytest.mark.parametrize(("variant", "k"), [("conv2former_n", 7), ("conv2former_t", 11), ("conv2former_b_22k", 7)])
def test_modulation(variant: str, k: int) -> None:
    """The values times what the convolution gathers: `proj(dw(gelu(pw(x))) * pw(x))`, and nothing else."""
    model = metablock.build("conv2former", variant=variant, edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    randomised_state(model)
    token, x = model.stages[1].blocks[0].token, torch.randn(2, 16, 8, 12, dtype=torch.float64)
    point = {
        name: (p.weight[..., None, None], p.bias) for name, p in (("a", token.a.linear), ("v", token.v), ("o", token.linear))
    }
    weights = conv2d(gelu(conv2d(x, *point["a"])), token.a.dw.weight, token.a.dw.bias, padding=k // 2, groups=16)
    expected = conv2d(weights * conv2d(x, *point["v"]), *point["o"])
    with torch.no_grad():
        answer = token(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert relative_error(answer, expected) < 1e-9


def test_stem_norms_behind_the_activation() -> None:
    """What leaves a pair of convolution and norm is normed, not cut off by the activation."""
    stem = metablock.build("conv2former", edits=SMALL, input=(3, 64, 96)).train().stem
    with torch.no_grad():
        y = stem.conv_act2(stem.conv_act1(torch.randn(4, 3, 64, 96)))
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    assert [name for name, _ in stem.named_parameters() if "conv." in name and name.endswith("bias")] == []


def test_training_step() -> None:
    model = metablock.build("conv2former", input=(3, 64, 96), classes=10, edits=[*SMALL, "drop = ramp(0.1)"]).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
