"""MobileNet (v1) against timm."""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

SHALLOW = "depth = [1, 1, 1, 1, 1]"


@pytest.mark.parametrize("variant", ["mobilenetv1_100", "mobilenetv1_125", "mobilenetv1_100h"])
def test_timm(variant: str) -> None:
    reference = require("timm").create_model(variant, num_classes=10).double().eval()
    state = randomised_state(reference)
    model = metablock.build(variant, classes=10, input="3x64x96", weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75])
def test_the_papers_narrower_networks(width: float) -> None:
    """Table 7 of the paper: parameters in millions."""
    model = metablock.build("mobilenet_v1", device="meta", edits=[f"width = {width}"])
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert round(millions, 1) == {0.25: 0.5, 0.5: 1.3, 0.75: 2.6}[width]


@pytest.mark.parametrize("token", ["dw_bn(3)", "pool(3)", "attention(dim // 8)"])
def test_a_step_of_training(token: str) -> None:
    edits = [f"token = {token}", "width = 0.25", SHALLOW]
    model = metablock.build("mobilenetv1_100h", classes=10, input="3x64x96", edits=edits).train()
    model(torch.randn(4, 3, 64, 96)).square().mean().backward()
    check_gradients(model, moved=True)


def test_first_weights() -> None:
    """As timm's: normal by the fan-out of one group, the classifier uniform by the number of classes."""
    model = metablock.build("mobilenet_v1", seed=1)
    state = model.state_dict()
    assert state["stages.3.blocks.0.mix.dw.weight"].std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert state["stages.3.blocks.0.channel.conv.weight"].std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.05)
    assert state["head.linear.weight"].abs().max().item() == pytest.approx(1000**-0.5, rel=0.01)
    assert not state["head.linear.bias"].any()
