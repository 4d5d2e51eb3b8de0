"""FastViT against timm in both forms, and its re-parameterisation. (The official names: tests/test_papers.py.)"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DEPTH, DIM = [1, 1, 2, 1], [16, 32, 64, 128]
SMALL = [f"depth = {DEPTH}", f"dim = {DIM}"]


@pytest.mark.parametrize("variant", ["fastvit_t8", "fastvit_sa12"])
def test_timm(variant: str) -> None:
    """As trained; and timm's fused weights in our fused form."""
    timm = require("timm")
    attention = variant == "fastvit_sa12"
    reference = timm.models.fastvit.FastVit(
        layers=DEPTH,
        embed_dims=DIM,
        mlp_ratios=(4,) * 4 if attention else (3,) * 4,
        token_mixers=("repmixer",) * 3 + (("attention",) if attention else ("repmixer",)),
        pos_embs=(None,) * 3 + ((timm.models.fastvit.RepConditionalPosEnc,) if attention else (None,)),
        num_classes=10,
    )
    reference = reference.double().eval()
    randomised_state(reference)
    small = {"classes": 10, "input": (3, 64, 96), "edits": SMALL, "dtype": torch.float64}
    model = metablock.build("fastvit", variant=variant, weights=reference.state_dict(), **small).eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected = reference(x)
        assert relative_error(model(x), expected) < 1e-9
    fused = timm.utils.reparameterize_model(reference).state_dict()
    rep = metablock.build("fastvit", variant=f"{variant}_rep", weights=fused, **small).eval()
    with torch.no_grad():
        assert relative_error(rep(x), expected) < 1e-9


@pytest.mark.parametrize("variant", ["fastvit_t8", "fastvit_sa12"])
def test_both_forms_collapse_to_one(variant: str) -> None:
    """What the authors' fusing leaves, ours fuses to the same convolutions as the network that is trained."""
    made = []
    for name in (variant, f"{variant}_rep"):
        model = metablock.build("fastvit", variant=name, edits=SMALL, classes=10, input=(3, 64, 96), dtype=torch.float64).eval()
        randomised_state(model)
        result = metablock.reparameterize(model)
        assert result.collapsed.difference < 1e-9
        norms = [path for path, module in result.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        assert norms == (["stages.3.blocks.0.mix.bn"] if variant == "fastvit_sa12" else [])  # a bias for qkv would be more
        made.append(sorted(tuple(parameter.shape) for parameter in result.parameters()))
    assert made[0] == made[1]


@pytest.mark.parametrize("variant", ["fastvit_t8", "fastvit_sa12"])
def test_training_step(variant: str) -> None:
    model = metablock.build("fastvit", variant=variant, edits=SMALL, classes=10, input=(3, 64, 96)).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 64, 96)), torch.arange(4)).backward()
    check_gradients(model, moved=True)


def test_the_token_is_swapped_by_one_edit() -> None:
    model = metablock.build("fastvit", edits=[*SMALL, "token = pool(3)"], input=(3, 64, 64))
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1000)
