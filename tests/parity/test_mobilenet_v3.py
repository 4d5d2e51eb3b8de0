"""MobileNetV3 against timm and torchvision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require


def error(reference: nn.Module, variant: str, source: str) -> float:
    """How far our network with the reference's weights is from it; the rules of ``source`` must be those that are found."""
    state = randomised_state(reference.double().eval())
    model = metablock.build(variant, classes=10, input="3x64x96", dtype=torch.float64).eval()
    assert metablock.load_weights(model, state, model.spec).source == source
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        return relative_error(model(x), reference(x))


@pytest.mark.parametrize("size", ["small_050", "small_100", "large_075"])
def test_timm(size: str) -> None:
    """At 0.5 a stage is as wide as the one before it: its first block has a skip as well."""
    assert error(require("timm").create_model(f"mobilenetv3_{size}", num_classes=10), f"mobilenetv3_{size}", "timm") < 1e-9


@pytest.mark.parametrize("size", ["small", "large"])
def test_torchvision(size: str) -> None:
    module = require("torchvision.models.mobilenetv3")
    reference = getattr(module, f"mobilenet_v3_{size}")(num_classes=10)
    assert error(reference, f"mobilenet_v3_{size}", f"torchvision_{size}") < 1e-9


@pytest.mark.parametrize("token", ["dw_bn(k)", "pool(3)", "dynamic_conv(k)"])
def test_a_step_of_training(token: str) -> None:
    edits = [f"token = {token}", "depth = [1, 2, 1, 2, 2]", "drop = ramp(0.2)"]
    model = metablock.build("mobilenetv3_small_050", classes=10, input="3x64x96", edits=edits).train()
    model(torch.randn(4, 3, 64, 96)).square().mean().backward()
    check_gradients(model, moved=True)


@pytest.mark.parametrize(("gate", "blocks"), [("id", 0), ("squeeze", 5), ("se(4)", 5)])
def test_the_gate_is_a_column(gate: str, blocks: int) -> None:
    model = metablock.build("mobilenetv3_small_050", device="meta", edits=[f"gate = {gate}", "depth = [1, 1, 1, 1, 1]"])
    assert sum(".gate.linear1.weight" in name for name in model.state_dict()) == blocks
