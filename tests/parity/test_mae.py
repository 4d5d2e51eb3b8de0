"""MAE and MoCo v3: the fine-tuned network against timm's; the masked autoencoder's patches, orders and tables."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

SMALL = ["depth = 2", "dim = 32", "heads = 2"]


def pretraining(**options: object) -> nn.Module:
    model = metablock.build("mae", variant="mae_vit_base_patch16", edits=[*SMALL, "size = 64"], **options)
    randomised_state(model)
    return model


def test_the_fine_tuned_network_is_timm_s() -> None:
    timm = require("timm").models.vision_transformer
    options = {"img_size": (48, 64), "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 10}
    reference = timm.VisionTransformer(**options, global_pool="avg", fc_norm=True).double().eval()
    state = randomised_state(reference)
    model = metablock.build("mae", edits=SMALL, weights=state, input=(3, 48, 64), classes=10, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 48, 64, dtype=torch.float64)
    weight = torch.randn(2, 10, dtype=torch.float64)
    assert relative_error(model(x), reference(x)) < 1e-9
    for network in (model, reference):
        (network(x) * weight).sum().backward()
    pairs = {"stem.position.weight": "pos_embed", "stages.0.blocks.1.attention.qkv.weight": "blocks.1.attn.qkv.weight",
             "head.norm.weight": "fc_norm.weight"}  # fmt: skip
    for ours, theirs in pairs.items():
        assert relative_error(model.get_parameter(ours).grad, reference.get_parameter(theirs).grad) < 1e-9


@pytest.mark.parametrize("variant", ["backbone_vit_small", "backbone_vit_base"])
def test_moco_s_backbone_is_timm_s(variant: str) -> None:
    timm = require("timm").models.vision_transformer
    reference = timm.VisionTransformer((48, 64), embed_dim=48, depth=2, num_heads=12, num_classes=10).double().eval()
    edits = ["depth = 2", "dim = 48"]
    state = randomised_state(reference)
    model = metablock.build("moco_v3", variant=variant, edits=edits, weights=state, input=(3, 48, 64), classes=10,
                            dtype=torch.float64).eval()  # fmt: skip
    x = torch.randn(2, 3, 48, 64, dtype=torch.float64)
    assert relative_error(model(x), reference(x)) < 1e-9


def blocks(x: Tensor, path: nn.Module) -> Tensor:
    for block in path:
        x = block(x)
    return x


def test_the_encoder_sees_the_patches_of_least_noise() -> None:
    """In plain indices: embedded with their places, in the order of their noise; the decoder's go back."""
    model = pretraining(dtype=torch.float64).eval()
    x, noise = torch.randn(2, 3, 64, 64, dtype=torch.float64), torch.rand(2, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        pred, hidden = model(x, noise).values()
        table, cls = model.stem.position.weight, model.stem.class_token.learned.weight
        patches = model.stem.embed(x).flatten(2).mT + table[:, 1:]
        order = noise.flatten(1).argsort(1)
        seen = torch.stack([patches[i, order[i, :4]] for i in range(2)])
        z = torch.cat([(cls + table[:, :1]).expand(2, -1, -1), seen], 1)
        z = model.linear(model.norm(blocks(z, model.stages[0].blocks)))
        whole = model.y.fill.weight.expand(2, 16, -1).clone()
        for i in range(2):
            whole[i, order[i, :4]] = z[i, 1:]
        y = torch.cat([z[:, :1], whole], 1) + model.decoder.position.weight
        y = model.decoder.linear(model.decoder.norm(blocks(y, model.decoder.vits)))[:, 1:]
        assert relative_error(pred.flatten(1, -2), y) < 1e-9
        wanted = torch.ones(2, 16, dtype=torch.float64)
        for i in range(2):
            wanted[i, order[i, :4]] = 0
        assert torch.equal(hidden.reshape(2, 16), wanted)


@pytest.mark.parametrize(("name", "variant", "first"), [("mae", "mae_vit_base_patch16", 1), ("moco_v3", "backbone_vit_small", 0)])
def test_frozen_tables_of_sines(name: str, variant: str, first: int) -> None:
    """MAE's first half holds the column, MoCo's the row; a sine's band, then its cosine's; zeros for the class token."""
    model = metablock.build(name, variant=variant, edits=["depth = 1", "dim = 384"])
    table = model.stem.position.weight[0]
    assert not model.stem.position.weight.requires_grad
    assert not table[0].any()
    for place, i in ((3, 1), (20, 5), (77, 0)):
        at = divmod(place, 14)
        for half in (0, 1):
            angle = at[half if first == 0 else 1 - half] / 10000 ** (i / 96)
            row = table[1 + place, 192 * half : 192 * half + 192]
            assert row[i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert row[96 + i].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_initial_weights() -> None:
    """The page's: Xavier for linear maps, the patch kernel as a matrix; MoCo's q, k and v as three squares."""
    mae = metablock.build("mae", variant="mae_vit_base_patch16", edits=["depth = 1"]).state_dict()
    moco = metablock.build("moco_v3", edits=["depth = 1"]).state_dict()
    bounds = {
        (6 / (768 + 768)) ** 0.5: mae["stem.embed.weight"],
        (6 / (4 * 768)) ** 0.5: mae["stages.0.blocks.0.attention.qkv.weight"],
        (6 / (768 + 384)) ** 0.5: moco["stem.embed.weight"],
        (6 / (2 * 384)) ** 0.5: moco["stages.0.blocks.0.token.qkv.weight"],
    }
    for bound, weight in bounds.items():
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert mae["stem.embed.bias"].any()
    assert not moco["stem.embed.bias"].any()
    assert moco["stem.class_token.learned.weight"].abs().max() < 1e-5


def test_training_step() -> None:
    model = pretraining().train()
    pred, hidden = model(torch.randn(4, 3, 64, 64), torch.rand(4, 1, 4, 4)).values()
    (pred.flatten(1, -2).square().mean(-1) * hidden.reshape(4, 16)).sum().backward()
    check_gradients(model, moved=True)
