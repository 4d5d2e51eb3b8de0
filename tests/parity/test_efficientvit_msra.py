"""EfficientViT (MSRA) against timm, which has the official names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DIM, HEADS, KERNELS = (32, 48, 64), (2, 3, 4), (7, 5, 3, 3)
SMALL = [f"dim = {[*DIM]}", f"heads = {[*HEADS]}", f"kernels = {[*KERNELS]}", "depth = [1, 1, 2]"]


@pytest.mark.parametrize("side", [112, 160])
def test_timm(side: int) -> None:
    """Maps of 7, 4 and 2: windows that fit, and windows as large as the map; of 10, 5 and 3: windows that zeros fill up."""
    timm = require("timm").models.efficientvit_msra
    reference = timm.EfficientVitMsra(
        img_size=side, num_classes=10, embed_dim=DIM, key_dim=(16,) * 3, depth=(1, 1, 2), num_heads=HEADS, kernels=KERNELS
    ).double()
    state = randomised_state(reference)
    reference = reference.train().eval()  # it gathers its biases at the first evaluation
    small = {"classes": 10, "input": (3, side, side), "edits": SMALL, "dtype": torch.float64}
    model = metablock.build("efficientvit_msra", weights=state, **small).eval()
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_training_step() -> None:
    model = metablock.build("efficientvit_msra", input=(3, 112, 160), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 112, 160)), torch.arange(4)).backward()
    check_gradients(model, moved=True)


def test_a_fresh_block_does_nothing() -> None:
    """Every branch ends in a norm whose weight starts at 0."""
    model = metablock.build("efficientvit_msra", edits=SMALL).eval()
    x = torch.randn(2, 32, 14, 14)
    torch.testing.assert_close(model.stages[0].blocks[0](x), x)
