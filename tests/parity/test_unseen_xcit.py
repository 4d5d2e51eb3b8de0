"""XCiT, whose attention is between channels, against timm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import metablock
from metablock.catalogue.lookup import open_spec
from oracles import randomised_state, relative_error, require

FILE = Path(__file__).parents[2] / "examples" / "backbones" / "xcit.yaml"


@pytest.mark.parametrize(("variant", "patch", "norm"), [("xcit_nano_12_p16_224", 16, False), ("xcit_tiny_12_p8_224", 8, True)])
def test_timm(variant: str, patch: int, norm: bool) -> None:
    """With unequal sides; timm computes its positions in float32."""
    timm = require("timm").models.xcit
    options = {"embed_dim": 32, "num_heads": 4, "depth": 2, "cls_attn_layers": 2, "num_classes": 10, "eta": 1.0}
    reference = timm.Xcit(img_size=(64, 96), patch_size=patch, tokens_norm=norm, **options).double().eval()
    edits = ["depth = [2, 2]", "dim = 32", "heads = 4"]
    options = {"input": (3, 64, 96), "classes": 10, "dtype": torch.float64, "weights": randomised_state(reference)}
    model = metablock.build(open_spec(FILE)[0], variant=variant, edits=edits, **options).eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-6


@pytest.mark.parametrize("variant", ["xcit_nano_12_p16_224", "xcit_small_24_p16_224", "xcit_tiny_12_p8_224"])
def test_parameters(variant: str) -> None:
    timm = require("timm")
    with torch.device("meta"):
        reference = timm.create_model(variant)
    model = metablock.build(open_spec(FILE)[0], variant=variant, device="meta")
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
