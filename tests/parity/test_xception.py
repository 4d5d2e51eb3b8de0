"""Xception against timm."""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

SMALL = ["dim = [16, 32, 48, 48, 64]", "depth = [1, 1, 1, 2, 1]"]


def test_timm() -> None:
    reference = require("timm").create_model("legacy_xception", num_classes=10).double().eval()
    state = randomised_state(reference)
    model = metablock.build("xception", classes=10, input="3x71x103", weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 71, 103, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_the_shortcut_sees_what_is_not_yet_activated() -> None:
    """Pre-activation stands inside the branch: what arrives passes as it is."""
    model = metablock.build("xception", edits=SMALL, classes=10, input="3x71x103").eval()
    middle = model.stages[3].blocks[0]
    x = torch.randn(1, 48, 5, 7)
    with torch.no_grad():
        torch.testing.assert_close(middle(x) - middle.branch(x), x)


@pytest.mark.parametrize("token", ["dw(3, bias=false)", "pool(3)", "dynamic_conv(3)"])
def test_a_step_of_training(token: str) -> None:
    model = metablock.build("xception", edits=[f"token = {token}", *SMALL], classes=10, input="3x71x103").train()
    model(torch.randn(4, 3, 71, 103)).square().mean().backward()
    check_gradients(model, moved=True)
