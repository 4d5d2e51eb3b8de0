"""TNT against timm, its first form too; what the official code holds and never reads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from metablock.backend import costs
from oracles import check_gradients, randomised_state, relative_error, require

SMALL = ["depth = 2", "m = 8", "d = 24", "heads = 3"]


@pytest.mark.parametrize(("variant", "legacy"), [("tnt_s_patch16_224", False), ("tnt_s_legacy_patch16_224", True)])
def test_timm(variant: str, legacy: bool) -> None:
    options = {"embed_dim": 24, "inner_dim": 8, "depth": 2, "num_heads_outer": 3, "num_classes": 10}
    reference = require("timm").models.tnt.TNT((64, 96), legacy=legacy, **options).double().eval()
    state = randomised_state(reference)
    shape = {"classes": 10, "input": (3, 64, 96), "edits": SMALL, "dtype": torch.float64}
    model = metablock.build("tnt", variant=variant, weights=state, **shape).eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_pixels_see_their_window_alone() -> None:
    """The convolution has zeros at the border of each window; timm's first form reached across it."""
    for variant, alone in (("tnt_s_patch16_224", True), ("tnt_s_legacy_patch16_224", False)):
        stem = metablock.build("tnt", variant=variant, input=(3, 32, 32), edits=SMALL).stem.p.eval()
        one, other = torch.randn(2, 1, 3, 32, 32)
        other[..., 16:, 16:] = one[..., 16:, 16:]
        with torch.no_grad():
            last = [stem(x).reshape(4, -1)[3] for x in (one, other)]
        assert torch.equal(*last) == alone


def test_official_parameters_that_nothing_reads() -> None:
    """They are frozen: counted, and in the checkpoints."""
    model = metablock.build("tnt", variant="official_tnt_s", edits=SMALL, device="meta")
    assert costs.parameters(model)[1] == 196 * 24
    assert costs.parameters(metablock.build("tnt", edits=SMALL, device="meta"))[1] == 0


def test_training_step() -> None:
    model = metablock.build("tnt", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
