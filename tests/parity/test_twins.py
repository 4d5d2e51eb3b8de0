"""Twins against timm, which has the official names; maps that the windows do not divide, which the official code stops at."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

import metablock
from metablock.language.load import load_text
from oracles import check_gradients, randomised_state, relative_error, require

DEPTH, DIM, HEADS = [2, 1, 3, 2], [8, 16, 24, 32], [1, 2, 3, 4]
SMALL = [f"depth = {DEPTH}", f"dim = {DIM}", f"heads = {HEADS}"]


@pytest.mark.parametrize(
    ("variant", "ratios", "windows", "size"),
    [
        ("pcpvt_small", (8, 8, 4, 4), None, (64, 96)),
        ("svt_small", (4, 4, 4, 4), (7, 7, 7, 7), (224, 448)),  # 56x112, 28x56, 14x28, 7x14: whole windows
        ("svt_small", (4, 4, 4, 4), (7, 7, 7, 7), (288, 256)),  # 72x64, 36x32, 18x16, 9x8: zeros that take part
        ("svt_small", (4, 4, 4, 4), (7, 7, 7, 7), (96, 128)),  # 24x32, 12x16, 6x8, 3x4: smaller than a window
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


@pytest.mark.parametrize("grid", [(3, 5), (7, 9), (14, 7)])
def test_windows_of_davit(grid: tuple[int, int]) -> None:
    """The spatial block of DaViT (arXiv 2204.03645) in timm: zeros fill up a map that is smaller than its window, too."""
    require("timm")
    reference = importlib.import_module("timm.models.davit").SpatialBlock(16, num_heads=2, window_size=7).double().eval()
    state = randomised_state(reference)
    block = 'res(layer_norm >> window(7, attention(2), fit="pad")) >> res(dw(3)) >> res(layer_norm >> mlp(4))'
    text = f"name: block\ninput: image(16, {grid[0]}, {grid[1]})\nmodel: res(dw(3)) >> {block}\n"
    model = metablock.build(load_text(text), dtype=torch.float64).eval()
    names = ["cpe1.proj", "norm1", "attn.qkv", "attn.proj", "cpe2.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    theirs = [state[f"{name}.{kind}"] for name in names for kind in ("weight", "bias")]
    model.load_state_dict(dict(zip(model.state_dict(), theirs, strict=True)))
    x = torch.randn(2, 16, *grid, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("variant", ["pcpvt_small", "svt_small"])
def test_training_step(variant: str) -> None:
    model = metablock.build("twins", variant=variant, input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
