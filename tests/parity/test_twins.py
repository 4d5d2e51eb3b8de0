"""Twins against timm, which has the official names; maps that the windows do not divide, which the official code stops at.

Windows larger than the map are a third thing: ours are then as large as the map, timm's are filled up with zeros to 7 x 7.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DEPTH, DIM, HEADS = [2, 1, 3, 2], [8, 16, 24, 32], [1, 2, 3, 4]
SMALL = [f"depth = {DEPTH}", f"dim = {DIM}", f"heads = {HEADS}"]


@pytest.mark.parametrize(
    ("variant", "ratios", "windows", "size"),
    [
        ("pcpvt_small", (8, 8, 4, 4), None, (64, 96)),
        ("svt_small", (4, 4, 4, 4), (7, 7, 7, 7), (224, 448)),  # 56x112, 28x56, 14x28, 7x14: whole windows
        ("svt_small", (4, 4, 4, 4), (7, 7, 7, 7), (288, 256)),  # 72x64, 36x32, 18x16, 9x8: zeros that take part
    ],
)
def test_timm(variant: str, ratios: tuple[int, ...], windows: tuple[int, ...] | None, size: tuple[int, int]) -> None:
    timm = require("timm").models.twins
    options = {"mlp_ratios": ratios, "sr_ratios": (8, 4, 2, 1), "wss": windows, "num_classes": 10}
    reference = timm.Twins(size, embed_dims=DIM, num_heads=HEADS, depths=DEPTH, **options).double().eval()
    state = randomised_state(reference)
    shape = {"classes": 10, "input": (3, *size), "edits": SMALL, "dtype": torch.float64}
    model = metablock.build("twins", variant=variant, weights=state, **shape).eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("variant", ["pcpvt_small", "svt_small"])
def test_training_step(variant: str) -> None:
    model = metablock.build("twins", variant=variant, input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
