"""SMT. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 3, 1]", "dim = [8, 16, 32, 64]"]


def test_modulation() -> None:
    """Each group of the 1 x 1 convolution sees one channel of each of the four scales."""
    model = metablock.build("smt", edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    randomised_state(model)
    token, x = model.stages[1].blocks[0].token, torch.randn(2, 8, 12, 16, dtype=torch.float64)
    s = token.scales.linear(x).permute(0, 3, 1, 2).chunk(4, 1)
    convs = [getattr(token.scales, f"dw{i + 1}") for i in range(4)]
    assert [conv.weight.shape[2] for conv in convs] == [3, 5, 7, 9]
    mixed = torch.stack(
        [nn.functional.conv2d(s[i], conv.weight, conv.bias, padding=i + 1, groups=4) for i, conv in enumerate(convs)], 2
    ).flatten(1, 2)
    first, last = token.aggregate.conv, token.aggregate.pw
    mixed = nn.functional.conv2d(mixed, first.weight, first.bias, groups=4)
    mixed = nn.functional.conv2d(nn.functional.gelu(token.aggregate.bn(mixed)), last.weight, last.bias)
    expected = token.linear2(mixed.permute(0, 2, 3, 1) * token.linear1(x))
    with torch.no_grad():
        assert relative_error(token(x), expected) < 1e-9


def test_stage_three_alternates() -> None:
    model = metablock.build("smt", edits=["depth = [1, 1, 4, 2]"], device="meta")
    kinds = [[hasattr(block.token, "q") for block in stage.blocks] for stage in model.stages]
    assert kinds == [[False], [False], [False, True, False, True], [True, True]]


@pytest.mark.parametrize(("variant", "scaled"), [("smt_t", 0), ("smt_l_plain", 0), ("smt_l", 12)])
def test_layer_scale_of_large_alone(variant: str, scaled: int) -> None:
    """Two vectors a block, which start at 1e-4: the configuration file switches them on, not the factory."""
    model = metablock.build("smt", variant=variant, edits=SMALL)
    scales = [parameter for name, parameter in model.named_parameters() if ".scale" in name and "scales" not in name]
    assert len(scales) == scaled
    assert all((scale == 1e-4).all() for scale in scales)


def test_training_step() -> None:
    model = metablock.build("smt", variant="smt_l", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
