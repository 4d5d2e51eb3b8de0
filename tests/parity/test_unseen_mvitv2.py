"""MViTv2, whose biases are products of the queries with vectors of offsets, against timm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import metablock
from metablock.catalogue.lookup import open_spec
from oracles import randomised_state, relative_error, require

FILE = Path(__file__).parents[2] / "examples" / "backbones" / "mvitv2.yaml"


@pytest.mark.parametrize("token", [False, True])
def test_timm(token: bool) -> None:
    """On 64 pixels the last maps have two places an axis; with a class token that is neither pooled nor has a place."""
    timm = require("timm").models.mvitv2
    cfg = timm.MultiScaleVitCfg(depths=(1, 2, 1, 1), embed_dim=16, num_heads=(1, 2, 4, 8), use_cls_token=token)
    reference = timm.MultiScaleVit(cfg, img_size=(64, 64), num_classes=10).double().eval()
    edits = ["depth = [1, 2, 1, 1]", "dim = [16, 32, 64, 128]", "heads = dim // 16"]
    options = {"input": (3, 64, 64), "classes": 10, "dtype": torch.float64, "weights": randomised_state(reference)}
    variant = "mvitv2_small_cls" if token else "mvitv2_tiny"
    model = metablock.build(open_spec(FILE)[0], variant=variant, edits=edits, **options).eval()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("variant", ["mvitv2_tiny", "mvitv2_base_cls"])
def test_parameters_and_modules(variant: str) -> None:
    """As many parameters as timm's, and no more modules than twice as many."""
    timm = require("timm")
    with torch.device("meta"):
        reference = timm.create_model(variant, num_classes=1000)
    model = metablock.build(open_spec(FILE)[0], variant=variant, device="meta")
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
    assert len(list(model.modules())) < 2 * len(list(reference.modules()))
