"""MobileViT against timm."""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients, randomised_state, relative_error, require


@pytest.mark.parametrize("variant", ["mobilevit_xxs", "mobilevit_xs"])
@pytest.mark.parametrize("size", [(3, 64, 128), (3, 96, 160)])
def test_timm(variant: str, size: tuple[int, ...]) -> None:
    """At 96 x 160 the last map is 3 x 5: it is resized to 4 x 6 and back."""
    reference = require("timm").create_model(variant, num_classes=10).double().eval()
    state = randomised_state(reference)
    model = metablock.build(variant, classes=10, input=size, weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("token", ["attention(4)", "pool(3)", "dw(3)", "hilo(4)"])
def test_a_step_of_training(token: str) -> None:
    model = metablock.build("mobilevit_xxs", edits=[f"token = {token}", "drop = 0.1"], classes=10, input="3x64x96").train()
    model(torch.randn(4, 3, 64, 96)).square().mean().backward()
    check_gradients(model, moved=True)
