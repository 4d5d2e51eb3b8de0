"""HRNet against timm."""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

SIZE = (3, 64, 96)


def tame(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Sums without a norm grow from stage to stage: smaller scales keep the numbers within what float64 compares well."""
    return {key: value * 0.3 if "bn" in key and key.endswith("weight") else value for key, value in state.items()}


@pytest.mark.parametrize("variant", ["hrnet_w18_small", "hrnet_w18_small_v2"])
def test_timm(variant: str) -> None:
    reference = require("timm").create_model(variant, num_classes=10).double().eval()
    state = tame(randomised_state(reference))
    reference.load_state_dict(state)
    model = metablock.build(variant, classes=10, input=SIZE, weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("token", ["conv(c, 3, bias=false)", "dw(3)", "pool(3)", "dynamic_conv(3)"])
def test_a_step_of_training(token: str) -> None:
    edits = ["W = 8", "planes = 8", "blocks = 1", "depth = [1, 1, 1, 1]", f"token = {token}"]
    model = metablock.build("hrnet_w18", edits=edits, classes=10, input=SIZE).train()
    model(torch.randn(2, *SIZE)).square().mean().backward()
    check_gradients(model, moved=True)


def test_a_stage_gives_a_list_of_branches() -> None:
    model = metablock.build("hrnet_w18_small", input=SIZE).eval()
    x = model.stem(torch.randn(1, *SIZE))
    shapes = []
    for stage in model.stages:
        x = stage(*x) if isinstance(x, tuple) else stage(x)
        shapes.append([tuple(y.shape[1:]) for y in (x if isinstance(x, tuple) else [x])])
    assert shapes[0] == [(128, 16, 24)]
    assert shapes[3] == [(16, 16, 24), (32, 8, 12), (64, 4, 6), (128, 2, 3)]
