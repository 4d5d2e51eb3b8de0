"""ShuffleNet V2 against torchvision."""

from __future__ import annotations

import pytest
import torch

import metablock
from metablock.language.load import load_text
from oracles import check_gradients, randomised_state, relative_error, require


@pytest.mark.parametrize("variant", ["x0_5", "x1_0"])
def test_torchvision(variant: str) -> None:
    reference = getattr(require("torchvision.models.shufflenetv2"), f"shufflenet_v2_{variant}")(num_classes=10).double().eval()
    state = randomised_state(reference)
    model = metablock.build(f"shufflenet_v2_{variant}", classes=10, input="3x64x96", dtype=torch.float64).eval()
    assert metablock.load_weights(model, state, model.spec).source == "torchvision"
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("c", [4, 10])
def test_the_shuffle_that_opens_a_unit(c: int) -> None:
    """The authors' code: even channels pass, odd ones are worked on."""
    spec = load_text(f"name: s\ninput: image({c}, 2)\nstages: {{body: shuffle(c // 2)}}\n")
    x = torch.randn(2, c, 2, 2)
    torch.testing.assert_close(metablock.build(spec)(x), torch.cat([x[:, 0::2], x[:, 1::2]], 1))


@pytest.mark.parametrize("variant", ["x0_5", "megvii_0_5x"])
@pytest.mark.parametrize("token", ["dw_bn(3)", "pool(3)", "attention(4)"])
def test_a_step_of_training(variant: str, token: str) -> None:
    edits = [f"token = {token}", "depth = [2, 2, 2]"]
    model = metablock.build(f"shufflenet_v2_{variant}", classes=10, input="3x64x96", edits=edits).train()
    model(torch.randn(4, 3, 64, 96)).square().mean().backward()
    check_gradients(model, moved=True)


def test_first_weights() -> None:
    """The authors' code: a standard deviation of 1 / inputs of a group, biases that are not quite 0."""
    state = metablock.build("shufflenet_v2_megvii_0_5x").state_dict()
    assert state["stem.conv_bn.conv.weight"].std().item() == pytest.approx(0.01, rel=0.1)
    assert state["stages.2.blocks.1.main.project.conv.weight"].std().item() == pytest.approx(1 / 96, rel=0.1)
    assert state["stages.2.blocks.1.main.mix.dw.weight"].std().item() == pytest.approx(1, rel=0.1)
    assert state["stages.2.blocks.1.main.mix.bn.bias"].eq(0.0001).all()
