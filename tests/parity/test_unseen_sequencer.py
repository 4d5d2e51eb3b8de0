"""Sequencer against timm: rows and columns of rectangular images, read by LSTMs in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import metablock
from metablock.backend.costs import macs
from oracles import check_gradients, randomised_state, relative_error, require

timm = require("timm")
SPEC = Path(__file__).parents[2] / "examples" / "backbones" / "sequencer.yaml"
EDITS = ["depth = [1, 2, 1, 1]", "dim = [24, 48, 48, 48]"]
SIZE = (56, 84)


def oracle() -> nn.Module:
    sizes = {"layers": (1, 2, 1, 1), "patch_sizes": (7, 2, 1, 1), "embed_dims": (24, 48, 48, 48), "hidden_sizes": (6, 12, 12, 12)}
    return timm.models.sequencer.Sequencer2d(num_classes=10, **sizes)


def test_timm() -> None:
    theirs = oracle().double().eval()
    state = randomised_state(theirs)
    model = metablock.build(SPEC, input=(3, *SIZE), classes=10, edits=EDITS, weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), theirs(x)) < 1e-9
    assert len(list(model.modules())) <= len(list(theirs.modules()))


@pytest.mark.parametrize("variant", ["sequencer2d_s", "sequencer2d_m", "sequencer2d_l"])
def test_full_size_has_timms_parameters_and_products(variant: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(variant)
    model = metablock.build(SPEC, variant=variant, device="meta")
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in theirs.parameters())
    x = torch.empty(1, 3, 224, 224, device="meta")
    assert macs(model, x)[""] == macs(theirs, x)[""] > 4e9


def test_training_step() -> None:
    model = metablock.build(SPEC, input=(3, *SIZE), classes=10, edits=EDITS).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(4, 3, *SIZE)), torch.arange(4)).backward()
    check_gradients(model, moved=True)
