"""Swin against timm: windows that shrink on one axis, maps that the windows do not divide, official names."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

timm = require("timm")
# One head of 8 channels a width of 8: small, and the number of heads still differs from stage to stage.
EDITS = ["depth = [1, 2, 1, 2]", "dim = [8, 16, 32, 64]", "heads = [1, 2, 4, 8]"]


def oracle(size: tuple[int, int], **options: object) -> nn.Module:
    """timm's Swin with the same edits."""
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=size, embed_dim=8, depths=(1, 2, 1, 2), num_heads=(1, 2, 4, 8), num_classes=10, **options
    )
    randomised_state(model)
    return model.double().eval()


def ours(size: tuple[int, int], state: dict[str, Tensor], edits: list[str] = EDITS) -> nn.Module:
    shape = (3, *size)
    return metablock.build("swin", input=shape, classes=10, edits=edits, weights=state, dtype=torch.float64).eval()


@pytest.mark.parametrize(
    ("size", "strict"),
    [
        ((224, 448), True),  # stage 4 is one window high: shifted along the width only
        ((256, 192), True),  # windows that never divide: 64x48, 32x24, 16x12, and 8x6, where they shrink to 7x6
        ((256, 192), False),  # the same, timm making its masks in `forward`
        ((100, 180), True),  # odd maps, which the patch merging fills up: 25x45, 13x23, 7x12, 4x6
        ((32, 96), True),  # windows larger than the map: 8x24, 4x12, 2x6, 1x3
    ],
)
def test_sizes(size: tuple[int, int], strict: bool) -> None:
    """Where the windows do not divide the map timm pads after the roll, and masks by regions of the padded map.

    timm's model is built for the size: one that only runs at it (`strict_img_size=False`) keeps the windows of the size it was
    built for, and so does not shrink or shift them as a model of this size would.
    """
    theirs = oracle(size, strict_img_size=strict)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(ours(size, theirs.state_dict())(x), theirs(x)) < 1e-9


def test_other_windows() -> None:
    """Windows of 4 by 6, and their shift of 2 by 3."""
    theirs = oracle((96, 160), window_size=(4, 6))
    token = 'token = window([4, 6], attn, shift=[2 * (index % 2), 3 * (index % 2)], fit="shrink")'
    x = torch.randn(2, 3, 96, 160, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(ours((96, 160), theirs.state_dict(), [*EDITS, token])(x), theirs(x)) < 1e-9


def test_official_names() -> None:
    """Patch merging ends a stage there, and the buffers are in the checkpoint."""
    theirs = oracle((64, 96))

    def rename(name: str) -> str:
        return re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name).replace(
            "head.fc", "head"
        )

    state = {rename(name): tensor for name, tensor in theirs.state_dict().items()}
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.long)
    state["layers.1.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(ours((64, 96), state)(x), theirs(x)) < 1e-9


@pytest.mark.parametrize("variant", ["swin_tiny_patch4_window7_224", "swin_base_patch4_window12_384"])
def test_shifted_blocks(variant: str) -> None:
    """Every other block, but none of the last stage, whose map is one window."""
    model = metablock.build("swin", variant=variant, edits=["depth = [2, 2, 2, 2]"], device="meta")
    for i, stage in enumerate(model.stages):
        for j, block in enumerate(stage.blocks):
            masks = [name for name, _ in block.named_buffers() if name.endswith("mask")]
            assert bool(masks) == (i < 3 and j % 2 == 1), (i, j)


def test_a_checkpoint_of_another_window() -> None:
    """The last stage's window shrinks to its map: its bias tables are interpolated, no other."""
    report = ours((256, 192), oracle((224, 224)).state_dict()).loaded
    assert report.complete
    assert report.resized
    assert all(name.startswith("stages.3.") and name.endswith("pos.table.weight") for name in report.resized)


def test_training_step() -> None:
    model = metablock.build("swin", input=(3, 64, 96), classes=10, edits=EDITS).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
