"""CPVT: the pyramids against timm's Twins-PCPVT, the same network; Ti, S, B against DeiT's blocks around the encodings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DEPTH, DIM, HEADS = [2, 1, 1, 2], [8, 16, 24, 32], [1, 2, 3, 4]
PYRAMID = [f"depth = {DEPTH}", f"dim = {DIM}", f"heads = {HEADS}"]
PLAIN = ["dim = 24", "heads = 3", "depth = 6"]


def test_pyramid() -> None:
    timm = require("timm").models.twins
    options = {"mlp_ratios": (8, 8, 4, 4), "sr_ratios": (8, 4, 2, 1), "num_classes": 10}
    reference = timm.Twins((64, 96), embed_dims=DIM, num_heads=HEADS, depths=DEPTH, **options).double().eval()
    state = randomised_state(reference)
    shape = {"classes": 10, "input": (3, 64, 96), "edits": PYRAMID, "dtype": torch.float64}
    model = metablock.build("cpvt", variant="pcpvt_small_v0", weights=state, **shape).eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def reference(vit: nn.Module, encodings: nn.ModuleList, x: Tensor) -> Tensor:
    """Algorithm 1: timm's ViT without its table, and each of the first blocks followed by an encoding of the patches."""
    grid = [extent // 16 for extent in x.shape[2:]]
    x = vit.patch_embed(x)
    prefix = 0 if vit.cls_token is None else 1
    x = x if vit.cls_token is None else torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
    for j, block in enumerate(vit.blocks):
        x = block(x)
        if j < len(encodings):
            places = x[:, prefix:].mT.unflatten(2, grid)
            x = torch.cat([x[:, :prefix], (places + encodings[j](places)).flatten(2).mT], 1)
    x = vit.norm(x)
    return vit.head(x[:, 0] if prefix else x.mean(1))


@pytest.mark.parametrize(("variant", "pegs", "pool"), [("ti", 1, "token"), ("ti_5peg", 5, "token"), ("ti_gap", 5, "avg")])
def test_plain(variant: str, pegs: int, pool: str) -> None:
    vit = require("timm").models.vision_transformer.VisionTransformer(
        (64, 96),
        embed_dim=24,
        depth=6,
        num_heads=3,
        num_classes=10,
        global_pool=pool,
        class_token=pool == "token",
        pos_embed="none",
        fc_norm=False,
    )
    encodings = nn.ModuleList(nn.Conv2d(24, 24, 3, padding=1, groups=24) for _ in range(pegs))
    state = dict(randomised_state(vit.double().eval()))
    state |= {f"pos_block.{n.replace('.', '.proj.0.')}": t for n, t in randomised_state(encodings.double()).items()}
    shape = {"classes": 10, "input": (3, 64, 96), "edits": PLAIN, "dtype": torch.float64}
    model = metablock.build("cpvt", variant=variant, weights=state, **shape).eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(vit, encodings, x)) < 1e-9


@pytest.mark.parametrize(("variant", "edits"), [("ti_5peg", PLAIN), ("b_gap1", PLAIN), ("pcpvt_small_v0", PYRAMID)])
def test_training_step(variant: str, edits: list[str]) -> None:
    model = metablock.build("cpvt", variant=variant, input=(3, 64, 96), classes=10, edits=edits).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
