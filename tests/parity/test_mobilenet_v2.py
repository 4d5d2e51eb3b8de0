"""MobileNetV2 against timm and torchvision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.backend import costs
from metablock.catalogue.lookup import catalogue
from metablock.language.weight_rules import read_rules
from metablock.language.weight_rules.network import NetworkFacts
from oracles import check_gradients, randomised_state, relative_error, require

SIZE = (3, 64, 96)
# t, c, n, s
ROWS = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 1], [6, 64, 1, 2]]


def columns(rows: list[list[int]]) -> list[str]:
    names = ("t", "out", "depth", "stride")
    return [f"{name} = {list(column)}" for name, column in zip(names, zip(*rows, strict=True), strict=True)]


def error(reference: nn.Module, source: str, **options: Any) -> float:
    """How far our network with the reference's weights is from it; the rules of ``source`` must be those that are found."""
    state = randomised_state(reference.double().eval())
    model = metablock.build("mobilenet_v2", classes=10, input=SIZE, dtype=torch.float64, **options).eval()
    assert metablock.load_weights(model, state, model.spec).source == source
    return difference(model, reference)


def difference(model: nn.Module, reference: nn.Module) -> float:
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        return relative_error(model(x), reference(x))


@pytest.mark.parametrize("variant", ["mobilenetv2_035", "mobilenetv2_100"])
def test_timm(variant: str) -> None:
    assert error(require("timm").create_model(variant, num_classes=10), "timm", variant=variant) < 1e-9


def torchvision(rows: list[list[int]] | None, width: float = 1.0) -> nn.Module:
    module = require("torchvision.models.mobilenetv2")
    return module.MobileNetV2(num_classes=10, width_mult=width, inverted_residual_setting=rows)


def test_torchvision() -> None:
    assert error(torchvision(None, 0.35), "torchvision", variant="mobilenetv2_035") < 1e-9


@pytest.mark.parametrize("width", [0.1, 0.25, 0.7, 1.4])
def test_torchvision_at_any_width(width: float) -> None:
    """At 0.1 and 0.25 rounding makes neighbours equally wide: then the first block of a stage has a skip as well."""
    assert error(torchvision(ROWS, width), "torchvision", edits=[f"width = {width}", *columns(ROWS)]) < 1e-9


def test_torchvision_with_other_stages() -> None:
    """A stage without expansion in the middle, and one that begins with a stride. The parts stand in the same order."""
    rows = [[1, 16, 2, 2], [6, 24, 1, 1], [1, 24, 2, 1], [4, 40, 2, 2]]
    reference = torchvision(rows).double().eval()
    randomised_state(reference)
    model = metablock.build("mobilenet_v2", classes=10, input=SIZE, edits=columns(rows), dtype=torch.float64).eval()
    for ours, theirs in zip(model.state_dict().values(), reference.state_dict().values(), strict=True):
        ours.copy_(theirs)
    assert difference(model, reference) < 1e-9


@pytest.mark.parametrize("source", ["timm", "torchvision"])
def test_every_name_has_a_rule(source: str) -> None:
    model = metablock.build("mobilenet_v2", device="meta")
    rules = read_rules(catalogue()["mobilenet_v2"], source)
    assert all(rules.find(name, NetworkFacts((1, 2, 3, 4, 3, 3, 1))) for name in model.state_dict())


@pytest.mark.parametrize("token", ["dw_bn(3)", "pool(3)", "dynamic_conv(3)", "attention(2)"])
def test_a_step_of_training(token: str) -> None:
    edits = [f"token = {token}", "width = 0.35", "drop = ramp(0.1)", *columns(ROWS)]
    model = metablock.build("mobilenet_v2", classes=10, input=SIZE, edits=edits).train()
    model(torch.randn(4, *SIZE)).square().mean().backward()
    check_gradients(model, moved=True)


def test_only_what_has_a_skip_is_dropped() -> None:
    """As in timm. A block without one would leave nothing of its input."""
    model = metablock.build("mobilenet_v2", device="meta", edits=["drop = ramp(0.1)"])
    dropped = [name for name, _ in model.named_modules() if name.endswith(".drop")]
    assert dropped == [f"stages.{i}.blocks.{j}.drop" for i, depth in enumerate([1, 2, 3, 4, 3, 3, 1]) for j in range(1, depth)]


def test_a_swapped_token_leaves_the_strides() -> None:
    """Blocks that halve the map keep their convolution: whatever the token, the head sees a map of 7 x 7."""
    image = torch.empty(1, 3, 224, 224, device="meta")
    before, after = (counts(image, edits) for edits in ([], ["token = pool(3)"]))
    assert after["head"] == before["head"]
    assert after["stages.1.blocks.0"] == before["stages.1.blocks.0"]
    assert after["stages.1.blocks.1"] < before["stages.1.blocks.1"]


def counts(image: Tensor, edits: list[str]) -> dict[str, int]:
    return costs.macs(metablock.build("mobilenet_v2", device="meta", edits=edits), image)
