"""ViT against timm's, plain and hybrid; the two ways without a class token at the end; what the jax code starts from."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import randomised_state, relative_error, require

import metablock
from metablock import MetablockError

timm = require("timm")

# Our variant, timm's model and what timm must be told, height and width. Depth is 1 everywhere, classes are 10.
MODELS = [
    ("vit_tiny_patch16_224", "vit_tiny_patch16_224", {}, (48, 80)),
    ("vit_small_patch32_224", "vit_small_patch32_224", {}, (64, 96)),
    ("vit_huge_patch14_224", "vit_huge_patch14_224", {}, (28, 42)),  # heads are 80 wide, not 64
    ("vit_tiny_r_s16_p8_224", "vit_tiny_r_s16_p8_224", {}, (64, 96)),
    ("vit_small_r26_s32_224", "vit_small_r26_s32_224", {}, (70, 101)),  # odd sizes on the way: SAME pads one side more
    ("vit_base_patch16_224_gap", "vit_base_patch16_224", {"class_token": False, "global_pool": "avg", "fc_norm": False}, (48, 80)),
    ("vit_base_patch16_224_avg", "vit_base_patch16_224", {"global_pool": "avg"}, (48, 80)),
]


@pytest.mark.parametrize(("variant", "name", "options", "size"), MODELS, ids=[model[0] for model in MODELS])
def test_parity(variant: str, name: str, options: dict[str, object], size: tuple[int, int]) -> None:
    reference = timm.create_model(name, img_size=size, depth=1, num_classes=10, **options).double().eval()
    model = metablock.build(
        variant, input=(3, *size), classes=10, edits=["depth = 1"], weights=randomised_state(reference), dtype=torch.float64
    ).eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_r50_s16_is_r50_with_its_last_stage_moved_up() -> None:
    """14 x 14 tokens at 224, as ViT-B/16; R50 itself ends in 7 x 7."""
    for variant, tokens in (("vit_base_r50_s16_224", 14**2), ("vit_large_r50_s32_224", 7**2)):
        model = metablock.build(variant, device="meta")
        assert model.stem.position.weight.shape[1] == tokens + 1
        assert sum(".std_conv2." in name for name, _ in model.stem.trunk.named_parameters()) == 16


def test_init() -> None:
    """q, k and v are drawn as three matrices; a residual unit of the trunk is its shortcut; all logits are zero."""
    model = metablock.build("vit_small_r26_s32_224", edits=["depth = 1", "trunk = group(256, 2)"])
    parts = dict(model.named_parameters())
    assert not any(parts[name].any() for name in ("head.linear.weight", "head.linear.bias", "stem.cls.weight"))
    for part in parts["stages.0.blocks.0.token.qkv.weight"].chunk(3):
        assert part.abs().max() == pytest.approx(math.sqrt(6 / (2 * 384)), rel=1e-3)
    assert 0 < parts["stages.0.blocks.0.channel.linear1.bias"].abs().max() < 1e-5
    for block in ("first", "bottlenecks.0"):
        assert not parts[f"stem.trunk.group.{block}.gn3.weight"].any()
        assert parts[f"stem.trunk.group.{block}.gn2.weight"].all()
    # Before it is standardised a filter has variance 1 / fan-in, nothing beyond two standard deviations.
    filter = parts["stem.root.std_conv.weight"]
    assert filter.std().item() == pytest.approx(1 / math.sqrt(3 * 49), rel=0.05)
    assert filter.abs().max() <= 2 / 0.8796 / math.sqrt(3 * 49)


@pytest.mark.parametrize("variant", ["vit_tiny_r_s16_p8_224", "vit_base_patch16_224_gap"])
def test_training_step(variant: str) -> None:
    """A finite gradient for every parameter; for most of them it is zero while the head is."""
    model = metablock.build(variant, input=(3, 64, 96), classes=10, edits=["dim = 192", "depth = 2", "drop = ramp(0.1)"]).train()
    torch.nn.functional.cross_entropy(model(torch.randn(2, 3, 64, 96)), torch.tensor([1, 2])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.head.linear.weight.grad.any()


def test_map_mixer_beside_class_token() -> None:
    """Pooling does not know what to do with a class token, and says so; told to leave it out, or without one, it is a MetaFormer."""
    small = {"input": (3, 48, 80), "device": "meta"}
    with pytest.raises(MetablockError, match="join"):
        metablock.build("vit_tiny_patch16_224", edits=["token = pool(3)"], **small)
    metablock.build("vit_tiny_patch16_224", edits=["token = join(prefix, patches >> pool(3))"], **small)
    metablock.build("vit_base_patch16_224_gap", edits=["token = pool(3)"], **small)
