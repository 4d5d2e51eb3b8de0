"""InceptionNeXt against timm, whose code is the official one; branches that are as wide as the rounding leaves them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DEPTH, DIM = [1, 1, 2, 1], [20, 32, 50, 64]
SMALL = (f"depth = {DEPTH}", f"dim = {DIM}")


@pytest.mark.parametrize(("variant", "share", "band"), [("inception_next_tiny", 0.125, 11), ("inception_next_atto", 0.25, 9)])
def test_timm(variant: str, share: float, band: int) -> None:
    """20 and 50 channels have branches of 2 and 6, or 5 and 12: the rest, at the front, passes through."""
    timm = require("timm").models.inception_next

    def mixer(in_chs: int, **options: object) -> nn.Module:
        return timm.InceptionDWConv2d(in_chs, branch_ratio=share, band_kernel_size=band, **options)

    reference = timm.MetaNeXt(depths=DEPTH, dims=DIM, token_mixers=mixer, num_classes=10).double().eval()
    state = randomised_state(reference)
    options = {"classes": 10, "input": (3, 96, 64), "edits": SMALL, "dtype": torch.float64}
    model = metablock.build("inception_next", variant=variant, weights=state, **options).eval()
    x = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_a_channel_that_no_branch_takes_is_normed_alone() -> None:
    """The norm behind the branches sees the first channels as they arrived."""
    model = metablock.build("inception_next", edits=SMALL, input=(3, 32, 64)).eval()
    token = model.stages[0].blocks[0].token
    randomised_state(model)
    x = torch.randn(2, 20, 8, 16)
    same = (token(x) == x).flatten(2).all(2).all(0)
    assert same.tolist() == [True] * 14 + [False] * 6


@pytest.mark.parametrize("token", ["inception(c // 8)", "dw(7)", "attention(2)"])
def test_training_step(token: str) -> None:
    model = metablock.build("inception_next", classes=10, input=(3, 64, 96), edits=[*SMALL, f"token = {token}"]).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
