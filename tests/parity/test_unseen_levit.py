"""LeViT, whose stages begin with attention of queries on a coarser grid, against timm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import metablock
from metablock.catalogue.lookup import open_spec
from oracles import randomised_state, relative_error, require

FILE = Path(__file__).parents[2] / "examples" / "backbones" / "levit.yaml"


@pytest.mark.parametrize(("key", "rules"), [(16, "timm"), (32, "timm_32")])
def test_timm(key: int, rules: str) -> None:
    """With unequal sides, odd at the end: five places have three queries."""
    timm = require("timm").models.levit
    dim, heads, depth = (2 * key, 4 * key, 6 * key), (2, 3, 4), (1, 2, 1)
    options = {"key_dim": key, "embed_dim": dim, "num_heads": heads, "depth": depth, "num_classes": 10}
    reference = timm.LevitDistilled(img_size=(96, 160), **options).double().eval()
    edits = [f"key = {key}", f"dim = {list(dim)}", f"heads = {list(heads)}", f"depth = {list(depth)}"]
    options = {
        "input": (3, 96, 160),
        "classes": 10,
        "dtype": torch.float64,
        "weights": randomised_state(reference),
        "names": rules,
    }
    model = metablock.build(open_spec(FILE)[0], edits=edits, **options).eval()
    x = torch.randn(2, 3, 96, 160, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize("variant", ["levit_128s", "levit_192", "levit_384"])
def test_parameters(variant: str) -> None:
    timm = require("timm")
    with torch.device("meta"):
        reference = timm.create_model(variant)
    model = metablock.build(open_spec(FILE)[0], variant=variant, device="meta")
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
