"""MetaFormer against timm, and what the two papers' networks start from and train."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import metablock
from oracles import randomised_state, relative_error, require

DEPTH, DIM = [1, 1, 2, 1], [32, 64, 96, 64]
SMALL = (f"depth = {DEPTH}", f"dim = {DIM}")
FAMILIES = ("poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_s18", "identityformer_s12", "randformer_s12")


def small(name: str, *edits: str, input: tuple[int, ...] = (3, 64, 64), **options: Any) -> nn.Module:
    return metablock.build("metaformer", variant=name, classes=10, input=input, edits=[*SMALL, *edits], **options)


def oracle(name: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """timm's model as it makes it, but for its size."""
    timm = require("timm").models.metaformer

    def make(_: str, pretrained: bool, **given: Any) -> nn.Module:
        return timm.MetaFormer(**{**given, "depths": DEPTH, "dims": DIM, "num_classes": 10})

    monkeypatch.setattr(timm, "_create_metaformer", make)
    return getattr(timm, name)().double().eval()


def difference(name: str, reference: nn.Module, *edits: str) -> float:
    """Relative error between our network and timm's under the same random weights."""
    state = randomised_state(reference)
    model = small(name, *edits, input=(3, 96, 64), weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        return relative_error(model(x), reference(x))


def test_poolformer(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm pools first and then norms the channels; the official code norms the whole map, with the same weights."""
    reference = oracle("poolformer_s12", monkeypatch)
    assert difference("poolformer_s12", reference) > 1e-3
    assert difference("poolformer_s12", reference, "head = global_pool >> layer_norm(1e-6) >> classifier") < 1e-9


def test_poolformerv2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert difference("poolformerv2_s12", oracle("poolformerv2_s12", monkeypatch)) < 1e-9


@pytest.mark.parametrize("name", ["convformer_s18", "caformer_s18"])
def test_mlp_head(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's norm inside the head has another eps."""
    reference = oracle(name, monkeypatch)
    reference.head.fc.norm.eps = 1e-5
    assert difference(name, reference) < 1e-9


@pytest.mark.parametrize("variant", FAMILIES)
def test_a_step_of_training(variant: str) -> None:
    model = small(variant).train()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    for name, parameter in model.named_parameters():
        if name.endswith("token.matrix.weight"):  # random mixing is never trained
            assert not parameter.requires_grad
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_random_mixing_averages_over_all_positions() -> None:
    model = small("randformer_s12", input=(3, 224, 224))
    for stage, positions in ((2, 14 * 14), (3, 7 * 7)):
        weight = model.stages[stage].blocks[0].token.matrix.weight
        assert weight.shape == (positions, positions)
        torch.testing.assert_close(weight.sum(1), torch.ones(positions))
        assert weight.min() > 0


def test_initial_weights() -> None:
    """The first paper's convolutions keep torch's own start; the second's are drawn as its linear maps are."""
    first, second = small("poolformer_s12"), small("poolformerv2_s12")
    assert first.stem.bias.abs().max() > 0
    assert second.stem.conv.bias.abs().max() == 0
    assert first.stem.weight.std().item() == pytest.approx((3 * 3 * 7 * 7) ** -0.5, rel=0.1)
    assert second.stem.conv.weight.std().item() == pytest.approx(0.02, rel=0.1)
    for model in (first, second):
        assert model.stages[2].blocks[0].channel.linear1.weight.std().item() == pytest.approx(0.02, rel=0.1)
