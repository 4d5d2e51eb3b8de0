"""EVA-02 and RoPE-ViT against timm's: rotary positions beside class tokens, of the grid, of a larger one, with learned frequencies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metablock
from oracles import randomised_state, relative_error, require

timm = require("timm")
BACKBONES = Path(__file__).parents[2] / "examples" / "backbones"
SIZES = {14: (56, 84), 16: (48, 80)}


def exact_rotary(model: nn.Module) -> None:
    """timm computes sines and cosines in float32: here in float64, from the same formulas."""
    rope = model.rope
    if hasattr(rope, "freqs"):  # mixed: computed in each call
        t_y, t_x = torch.cartesian_prod(*(torch.arange(float(n), dtype=torch.float64) for n in model.patch_embed.grid_size)).T

        def embeds(shape: object = None) -> Tensor:
            angles = t_x[:, None] * rope.freqs[0].unsqueeze(-2) + t_y[:, None] * rope.freqs[1].unsqueeze(-2)
            return torch.cat([wave.repeat_interleave(2, -1) for wave in (angles.sin(), angles.cos())], -1)

        rope.get_embed = embeds
        return
    bands = rope.temperature ** -(torch.arange(rope.dim // 4, dtype=torch.float64) / (rope.dim // 4))
    axes = [torch.arange(float(n), dtype=torch.float64) for n in rope.feat_shape]
    if rope.ref_feat_shape is not None:
        axes = [axis / len(axis) * m for axis, m in zip(axes, rope.ref_feat_shape, strict=True)]
    places = torch.cartesian_prod(*axes)
    places = places.flip(1) if rope.grid_indexing == "xy" else places
    angles = (places[..., None] * bands).flatten(1).repeat_interleave(2, -1)
    exact = torch.cat([angles.sin(), angles.cos()], -1)
    assert relative_error(rope.pos_embed, exact) < 1e-5
    rope.pos_embed = exact


@pytest.mark.parametrize(
    ("file", "variant"),
    [
        ("eva02", "eva02_tiny_patch14_224"),
        ("eva02", "eva02_base_patch14_224"),
        ("rope_vit", "vit_small_patch16_rope_224"),
        ("rope_vit", "vit_small_patch16_rope_mixed_224"),
        ("rope_vit", "vit_small_patch16_rope_mixed_ape_224"),
    ],
)
def test_parity(file: str, variant: str) -> None:
    """Two blocks of 128 channels; height and width differ from each other and from the reference grid."""
    size = SIZES[14 if "patch14" in variant else 16]
    reference = timm.create_model(variant, img_size=size, depth=2, embed_dim=128, num_heads=2, num_classes=10).double()
    state = randomised_state(reference.eval())
    exact_rotary(reference)
    model = metablock.build(
        BACKBONES / f"{file}.yaml",
        variant=variant,
        input=(3, *size),
        classes=10,
        edits=["depth = 2", "dim = 128"],
        weights=state,
        dtype=torch.float64,
    ).eval()
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


@pytest.mark.parametrize(
    ("file", "variant"),
    [("eva02", "eva02_small_patch14_224"), ("eva02", "eva02_large_patch14_224"), ("rope_vit", "vit_base_patch16_rope_mixed_224")],
)
def test_counts(file: str, variant: str) -> None:
    with torch.device("meta"):
        reference = timm.create_model(variant, num_classes=10)
    model = metablock.build(BACKBONES / f"{file}.yaml", variant=variant, classes=10, device="meta")
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())


def test_learned_frequencies_begin_as_timms() -> None:
    """Each head's frequencies are the axial ones, turned by an angle of its own."""
    model = metablock.build(BACKBONES / "rope_vit.yaml", variant="vit_small_patch16_rope_mixed_224", edits=["depth = 2"])
    sizes = 10 ** (-torch.arange(16) / 16)
    weights = [block.token.rotary.linear.weight.detach().view(6, 2, 16, 2) for block in model.stages[0].blocks]
    assert not torch.equal(*weights)
    for weight in weights:
        torch.testing.assert_close(weight.norm(dim=-1), sizes.expand(6, 2, 16))
        torch.testing.assert_close(weight[:, 1, :, 1], -weight[:, 0, :, 0])  # a right angle further
        torch.testing.assert_close(weight[:, 1, :, 0], weight[:, 0, :, 1])
        angles = torch.atan2(weight[:, 0, :, 0], weight[:, 0, :, 1])
        torch.testing.assert_close(angles, angles[:, :1].expand(-1, 16))
        assert angles[:, 0].unique().numel() == 6
