"""T2T-ViT. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm

import metablock
from oracles import randomised_state, relative_error

SMALL = ["depth = 2", "dim = 32", "heads = 2"]


def small(variant: str) -> nn.Module:
    edits = ["depth = [1, 2, 1, 1]", "dim = 32", "heads = 2", "growth = 16"] if variant == "t2t_vit_dense" else SMALL
    model = metablock.build("t2t_vit", variant=variant, edits=edits, input=(3, 64, 96), classes=10, dtype=torch.float64)
    randomised_state(model)
    return model


@pytest.mark.parametrize("variant", ["t2t_vit_14", "t2t_vit_t_14"])
def test_mixers(variant: str) -> None:
    """The skip is of v, the projection is packed k, q, v or q, k, v, and the scale is the entering width's; by all pairs."""
    mixer = small(variant).eval().stem.mixer2
    x = torch.randn(2, 8, 12, 576, dtype=torch.float64)
    packed = getattr(mixer, "kqv" if variant == "t2t_vit_14" else "qkv")
    first, second, v = packed.linear(packed.norm(x.flatten(1, 2))).chunk(3, -1)
    attention = mixer.y.attention
    if variant == "t2t_vit_14":
        w = attention.feature.random_features.weight
        k, q = ((z @ w.T - z.square().sum(-1, keepdim=True) / 2).exp() / 32**0.5 for z in (first, second))
        weights = q @ k.mT
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-8)
    else:
        weights = (first @ second.mT * 576**-0.5).softmax(-1)
    y = v + (attention.proj.linear if variant == "t2t_vit_14" else attention.proj)(weights @ v)
    y = y + mixer.mlp.linear2(gelu(mixer.mlp.linear1(layer_norm(y, (64,), mixer.norm.weight, mixer.norm.bias))))
    with torch.no_grad():
        assert relative_error(mixer(x).flatten(1, 2), y) < 1e-9


def test_frozen_parts() -> None:
    """The random features and the table of positions are parameters that are not trained."""
    frozen = {name: tuple(p.shape) for name, p in small("t2t_vit_14").named_parameters() if not p.requires_grad}
    features = "y.attention.feature.random_features.weight"
    expected = {"stem.position.weight": (1, 25, 32), f"stem.mixer1.{features}": (32, 64), f"stem.mixer2.{features}": (32, 64)}
    assert frozen == expected


def test_random_features_are_orthogonal() -> None:
    rows = metablock.build("t2t_vit", edits=SMALL).stem.mixer1.y.attention.feature.random_features.weight
    torch.testing.assert_close(rows @ rows.T, 32 * torch.eye(32), rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", ["t2t_vit_14", "t2t_vit_t_14", "t2t_vit_14_se", "t2t_vit_16_ghost", "t2t_vit_dense"])
def test_training_step(variant: str) -> None:
    model = small(variant).train()
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96, dtype=torch.float64)), torch.arange(8)).backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_rates_of_the_dense_one() -> None:
    """A stage has one rate, that of the block with its number among twelve, as the official code reads them."""
    model = metablock.build("t2t_vit", variant="t2t_vit_dense")
    rates = [{round(block.drop.initial, 9) for block in stage.blocks if hasattr(block, "drop")} for stage in model.stages]
    assert rates[1:] == [{round(0.1 * stage / 11, 9)} for stage in (1, 2, 3)]
