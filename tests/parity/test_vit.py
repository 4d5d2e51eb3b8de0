"""ViT against timm's, plain and hybrid; the two ways without a class token at the end; what the jax code starts from."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

import metablock
from metablock import MetablockError
from oracles import randomised_state, relative_error, require

timm = require("timm")

MEAN = {"global_pool": "avg"}
# Our variant, timm's model and what timm must be told, height and width. All of them one block deep, 192 wide, for 10 classes.
MODELS = [
    ("vit_tiny_patch16_224", "vit_tiny_patch16_224", {}, (48, 80)),
    ("vit_base_patch32_224", "vit_base_patch32_224", {"embed_dim": 192, "num_heads": 3}, (64, 96)),
    ("vit_tiny_r_s16_p8_224", "vit_tiny_r_s16_p8_224", {}, (64, 96)),
    ("vit_base_patch16_224_gap", "vit_tiny_patch16_224", {"class_token": False, **MEAN, "fc_norm": False}, (48, 80)),
    ("vit_base_patch16_224_avg", "vit_tiny_patch16_224", MEAN, (48, 80)),
]


@pytest.mark.parametrize(("variant", "name", "options", "size"), MODELS, ids=[model[0] for model in MODELS])
def test_parity(variant: str, name: str, options: dict[str, object], size: tuple[int, int]) -> None:
    check(variant, timm.create_model(name, img_size=size, depth=1, num_classes=10, **options), size)


def test_hybrid_parity() -> None:
    """A trunk of two short stages; on the way the sizes are odd, so that SAME pads the end more than the start."""
    conv = partial(timm.layers.StdConv2dSame, eps=1e-8)
    trunk = timm.models.resnetv2.ResNetV2(
        (1, 2), channels=(128, 256), num_classes=0, global_pool="", stem_type="same", preact=False, conv_layer=conv
    )
    embed = partial(timm.layers.HybridEmbed, backbone=trunk)
    size = (30, 53)
    reference = timm.models.VisionTransformer(
        img_size=size, patch_size=1, embed_dim=192, depth=1, num_heads=3, num_classes=10, embed_layer=embed
    )
    check("vit_small_r26_s32_224", reference, size, "trunk = group(128, 1, stride=1) >> group(256, 2)")


def check(variant: str, reference: torch.nn.Module, size: tuple[int, int], *edits: str) -> None:
    reference = reference.double().eval()
    state = randomised_state(reference)
    model = metablock.build(
        variant, input=(3, *size), classes=10, edits=["depth = 1", "dim = 192", *edits], weights=state, dtype=torch.float64
    ).eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize(("size", "heads"), [("tiny", 3), ("small", 6), ("base", 12), ("large", 16), ("huge", 16)])
def test_heads(size: str, heads: int) -> None:
    """Table 1, which parameter counts do not see."""
    variant = f"vit_{size}_patch{14 if size == 'huge' else 16}_224"
    model = metablock.build(variant, edits=["depth = 1"], device="meta")
    assert model.stages[0].blocks[0].token.attend.heads == heads


def test_r50_s16_is_r50_with_its_last_stage_moved_up() -> None:
    """14 x 14 tokens at 224, as ViT-B/16; R50 itself ends in 7 x 7."""
    for variant, tokens in (("vit_base_r50_s16_224", 14**2), ("vit_large_r50_s32_224", 7**2)):
        model = metablock.build(variant, device="meta")
        assert model.stem.position.weight.shape[1] == tokens + 1
        assert sum(".std_conv2." in name for name, _ in model.stem.trunk.named_parameters()) == 16


def test_init() -> None:
    """q, k and v are drawn as three matrices; a residual unit of the trunk is its shortcut; all logits are zero."""
    model = metablock.build("vit_small_r26_s32_224", edits=["depth = 1", "trunk = group(256, 2)"])
    parts = model.state_dict()
    assert not any(parts[name].any() for name in ("head.linear.weight", "head.linear.bias", "stem.cls.weight"))
    for part in parts["stages.0.blocks.0.token.qkv.weight"].chunk(3):
        assert part.abs().max().item() == pytest.approx(math.sqrt(6 / (2 * 384)), rel=1e-3)
    assert 0 < parts["stages.0.blocks.0.channel.linear1.bias"].abs().max() < 1e-5
    for block in ("first", "bottlenecks.0"):
        assert not parts[f"stem.trunk.{block}.gn3.weight"].any()
        assert parts[f"stem.trunk.{block}.gn2.weight"].all()
    # Before it is standardised a filter has variance 1 / fan-in, nothing beyond two standard deviations.
    filter = parts["stem.root.std_conv.weight"]
    assert filter.std().item() == pytest.approx(1 / math.sqrt(3 * 49), rel=0.05)
    assert filter.abs().max().item() <= 2.001 / 0.8796 / math.sqrt(3 * 49)


@pytest.mark.parametrize("variant", ["vit_tiny_r_s16_p8_224", "vit_base_patch16_224_gap"])
def test_training_step(variant: str) -> None:
    """A finite gradient for every parameter; for most of them it is zero while the head is."""
    model = metablock.build(variant, input=(3, 64, 96), classes=10, edits=["dim = 192", "depth = 2", "drop = ramp(0.1)"]).train()
    torch.nn.functional.cross_entropy(model(torch.randn(2, 3, 64, 96)), torch.tensor([1, 2])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.head.linear.weight.grad.any()


def test_map_mixer_beside_class_token() -> None:
    """Pooling does not know what to do with a class token, and says so; told to leave it out, or without one, it works."""
    small = {"input": (3, 48, 80), "device": "meta"}
    with pytest.raises(MetablockError, match="join"):
        metablock.build("vit_tiny_patch16_224", edits=["token = pool(3)"], **small)
    metablock.build("vit_tiny_patch16_224", edits=["token = join(prefix, patches >> pool(3))"], **small)
    metablock.build("vit_base_patch16_224_gap", edits=["token = pool(3)"], **small)
