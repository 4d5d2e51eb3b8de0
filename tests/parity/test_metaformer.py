"""MetaFormer: parity with timm, and what the two papers' networks do in training."""

from __future__ import annotations

import pytest
import torch
from oracles import randomised_state, relative_error, require
from torch import nn

import metablock

DEPTH = [1, 1, 2, 1]
SHORT = f"depth = {DEPTH}"
FAMILIES = ("poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_s18", "identityformer_s12", "randformer_s12")


def short_oracle(name: str) -> nn.Module:
    """timm's model with few blocks, its parameters random."""
    oracle = require("timm").create_model(name).double().eval()
    for stage, depth in zip(oracle.stages, DEPTH, strict=True):
        stage.blocks = stage.blocks[:depth]
    return oracle


@pytest.mark.parametrize("name", ["poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_s18"])
def test_timm(name: str) -> None:
    oracle, edits = short_oracle(name), [SHORT]
    if name == "poolformer_s12":  # timm norms the channels after pooling; the official code norms the map before
        edits.append("head = global_pool >> layer_norm(1e-6) >> classifier")
    if name in ("convformer_s18", "caformer_s18"):  # timm has 1e-6 here
        oracle.head.fc.norm.eps = 1e-5
    state = randomised_state(oracle)
    model = metablock.build("metaformer", variant=name, input=(3, 96, 64), edits=edits, weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), oracle(x)) < 1e-9


def test_poolformer_norms_the_map_before_pooling() -> None:
    """With the same weights timm's logits are others."""
    oracle = short_oracle("poolformer_s12")
    state = randomised_state(oracle)
    model = metablock.build("metaformer", input=(3, 96, 64), edits=[SHORT], dtype=torch.float64).eval()
    with torch.no_grad():
        timm = metablock.build("metaformer", input=(3, 96, 64), edits=[SHORT], weights=state, dtype=torch.float64).eval()
        x = torch.randn(2, 3, 96, 64, dtype=torch.float64)
        assert relative_error(timm(x), oracle(x)) > 1e-3
    del model


@pytest.mark.parametrize("variant", FAMILIES)
def test_a_step_of_training(variant: str) -> None:
    model = metablock.build("metaformer", variant=variant, input=(3, 64, 64), edits=[SHORT]).train()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    for name, parameter in model.named_parameters():
        if name.endswith("token.matrix.weight"):  # random mixing is never trained
            assert not parameter.requires_grad
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_random_mixing_averages_over_all_positions() -> None:
    model = metablock.build("metaformer", variant="randformer_s12", edits=[SHORT])
    for stage, positions in ((2, 14 * 14), (3, 7 * 7)):
        weight = model.stages[stage].blocks[0].token.matrix.weight
        assert weight.shape == (positions, positions)
        torch.testing.assert_close(weight.sum(1), torch.ones(positions))
        assert weight.min() > 0


def test_initial_weights() -> None:
    """The first paper's convolutions keep torch's own start, the second's are drawn as its linear maps are."""
    first = metablock.build("metaformer", variant="poolformer_s12", edits=[SHORT])
    assert first.stem.bias.abs().max() > 0
    assert first.stem.weight.std() == pytest.approx((3 * 3 * 7 * 7) ** -0.5, rel=0.1)
    second = metablock.build("metaformer", variant="poolformerv2_s12", edits=[SHORT])
    assert second.stem.conv.bias.abs().max() == 0
    assert second.stem.conv.weight.std() == pytest.approx(0.02, rel=0.1)
    for model in (first, second):
        assert model.stages[3].blocks[0].channel.linear1.weight.std() == pytest.approx(0.02, rel=0.1)
