"""CaiT, whose attention matrix is mixed between its heads, against timm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import metablock
from metablock.catalogue.lookup import open_spec
from oracles import randomised_state, relative_error, require

FILE = Path(__file__).parents[2] / "examples" / "backbones" / "cait.yaml"


def test_timm() -> None:
    timm = require("timm").models.cait
    options = {"embed_dim": 96, "depth": 2, "num_heads": 2, "num_classes": 10, "init_values": 1e-5}
    reference = timm.Cait(img_size=(64, 96), **options).double().eval()
    spec, _ = open_spec(FILE)
    edits = ["depth = [2, 2]", "dim = 96"]
    weights = randomised_state(reference)
    model = metablock.build(spec, edits=edits, input=(3, 64, 96), classes=10, dtype=torch.float64, weights=weights).eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("variant", ["cait_xxs24_224", "cait_xs24_384"])
def test_parameters(variant: str) -> None:
    timm = require("timm")
    with torch.device("meta"):
        reference = timm.create_model(variant)
    model = metablock.build(open_spec(FILE)[0], variant=variant, device="meta")
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
