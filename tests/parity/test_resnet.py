"""ResNet against timm and torchvision."""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

SIZE = (3, 96, 64)


def shrunk(variant: str) -> tuple[list[int], list[str]]:
    depth = [1, 2, 1, 1] if variant == "resnet18" else [2, 1, 1, 2]
    return depth, [f"depth = {depth}", "classes = 10"]


@pytest.mark.parametrize("variant", ["resnet18", "resnet50"])
def test_torchvision(variant: str) -> None:
    module = require("torchvision.models.resnet")
    depth, edits = shrunk(variant)
    block = module.BasicBlock if variant == "resnet18" else module.Bottleneck
    compare(module.ResNet(block, depth, num_classes=10), variant, edits)


@pytest.mark.parametrize("variant", ["resnet18", "resnet50"])
def test_timm(variant: str) -> None:
    module = require("timm.models.resnet")
    depth, edits = shrunk(variant)
    block = module.BasicBlock if variant == "resnet18" else module.Bottleneck
    compare(module.ResNet(block, depth, num_classes=10), variant, edits)


def compare(reference: torch.nn.Module, variant: str, edits: list[str]) -> None:
    state = randomised_state(reference.double().eval())
    model = metablock.build("resnet", variant=variant, edits=edits, input=SIZE, weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("variant", ["resnet18", "resnet50"])
@pytest.mark.parametrize("token", ["conv(dim, 3, bias=false)", "pool(3)", "dynamic_conv(3)", "attention(dim // 32)"])
def test_a_step_of_training(variant: str, token: str) -> None:
    """Swapped or not: the 3x3 convolutions that keep the map are one slot, those that halve it stay."""
    _, edits = shrunk(variant)
    model = metablock.build(variant, edits=[*edits, f"token = {token}", "drop = ramp(0.1)"], input=SIZE).train()
    model(torch.randn(4, *SIZE)).square().mean().backward()
    check_gradients(model, moved=True)


def test_strides_stand_on_the_three_by_three() -> None:
    model = metablock.build("resnet50", device="meta")
    assert model.stages[1].blocks[0].branch.reduce.conv.stride == (1, 1)
    assert model.stages[1].blocks[0].branch.mix.stride == (2, 2)
