"""CrossViT against timm."""

from __future__ import annotations

import pytest
import torch

import metablock
from metablock.operators.drop_path import DropPath
from oracles import check_gradients, randomised_state, relative_error, require

SMALL = ["d = [24, 48]", "depth = [2, 1, 3]", "heads = 3"]


def reference(dagger: bool) -> torch.nn.Module:
    module = require("timm.models.crossvit")
    depth = [[1, 2, 0], [1, 1, 0], [1, 3, 0]]
    return module.CrossVit(
        img_size=240,
        img_scale=(1.0, 224 / 240),
        patch_size=[12, 16],
        embed_dim=[24, 48],
        depth=depth,
        num_heads=[3, 3],
        mlp_ratio=[3, 3, 1],
        multi_conv=dagger,
        num_classes=10,
        drop_path_rate=0.1,
    )


@pytest.mark.parametrize("dagger", [False, True])
def test_timm(dagger: bool) -> None:
    theirs = reference(dagger).double().eval()
    state = randomised_state(theirs)
    edits = [*SMALL, "patch = dagger"] if dagger else SMALL
    model = metablock.build("crossvit_15_240", edits=edits, classes=10, weights=state, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 240, 240, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), theirs(x)) < 1e-9


def test_drop_rates_are_those_of_timm() -> None:
    """Of equal stages: the small block has a group's first rate, the fusions its last."""
    model = metablock.build("crossvit_15_240")
    rates = {name: m.rate.item() for name, m in model.named_modules() if isinstance(m, DropPath)}
    wanted = torch.linspace(0, 0.1, 15)
    for g in range(3):
        assert rates.get(f"stages.{g}.small.drop", 0.0) == pytest.approx(wanted[5 * g].item())
        assert rates[f"stages.{g}.large.blocks.4.drop"] == pytest.approx(wanted[5 * g + 4].item())
        assert rates[f"stages.{g}.fuse1.y.drop"] == pytest.approx(wanted[5 * g + 4].item())


@pytest.mark.parametrize("token", ["attention(heads)", "agent_attention(heads)"])
def test_a_step_of_training(token: str) -> None:
    """All but the last fusions' patches: after the last group only class tokens are read, as in the official code."""
    edits = [*SMALL, f"token = {token}", "size = [48, 32]", "patch = dagger"]
    model = metablock.build("crossvit_15_240", edits=edits, classes=10).train()
    model(torch.randn(8, 3, 48, 48)).square().mean().backward()
    check_gradients(model, moved=True)
