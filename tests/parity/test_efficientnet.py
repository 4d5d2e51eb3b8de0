"""EfficientNet against timm, in both of its numerics, and torchvision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

SHALLOW = "repeat = [1, 2, 1, 1, 1, 1, 1]"


def error(reference: nn.Module, variant: str, source: str, size: tuple[int, int]) -> float:
    """How far our network with the reference's weights is from it; the rules of ``source`` must be those that are found."""
    state = randomised_state(reference.double().eval())
    model = metablock.build(variant, classes=10, input=(3, *size), dtype=torch.float64).eval()
    assert metablock.load_weights(model, state, model.spec).source == source
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        return relative_error(model(x), reference(x))


@pytest.mark.parametrize(
    ("variant", "size"),
    [("efficientnet_b1", (32, 48)), ("tf_efficientnet_b0", (64, 96)), ("tf_efficientnet_b0", (33, 47))],
)
def test_timm(variant: str, size: tuple[int, int]) -> None:
    """At odd sizes TensorFlow's padding is symmetric, at even ones the odd zero comes last."""
    assert error(require("timm").create_model(variant, num_classes=10), variant, "timm", size) < 1e-9


def test_torchvision() -> None:
    reference = require("torchvision.models.efficientnet").efficientnet_b0(num_classes=10)
    assert error(reference, "efficientnet_b0", "torchvision", (64, 96)) < 1e-9


def test_compound_scaling() -> None:
    """Depths and widths of B7, as timm lists them."""
    model = metablock.build("tf_efficientnet_b7", device="meta")
    assert [len(stage.blocks) for stage in model.stages] == [4, 7, 7, 10, 10, 13, 4]
    assert [stage.blocks[0].project.conv.weight.shape[0] for stage in model.stages] == [32, 48, 80, 160, 224, 384, 640]


def test_the_gate_is_made_of_what_enters_the_block() -> None:
    """The widths of the hidden layer: a quarter of the block's input, not of the six times wider map it works on."""
    model = metablock.build("efficientnet_b0", device="meta")
    assert [stage.blocks[0].gate.linear1.weight.shape[0] for stage in model.stages] == [8, 4, 6, 10, 20, 28, 48]


def test_drop_rates_are_of_the_total() -> None:
    model = metablock.build("efficientnet_b0", edits=["width = 0.1"])
    rates = [float(block.drop.rate) for stage in model.stages[1:] for block in list(stage.blocks)[1:]]
    assert rates == pytest.approx([0.2 * layer / 16 for layer in (2, 4, 6, 7, 9, 10, 12, 13, 14)])


@pytest.mark.parametrize("token", ["dw_bn(k)", "pool(3)", "hilo(4)"])
def test_a_step_of_training(token: str) -> None:
    edits = [f"token = {token}", "width = 0.5", SHALLOW]
    model = metablock.build("tf_efficientnet_b0", classes=10, input="3x64x96", edits=edits).train()
    model(torch.randn(4, 3, 64, 96)).square().mean().backward()
    check_gradients(model, moved=True)
