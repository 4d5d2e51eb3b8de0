"""GC ViT against timm: global queries handed to every other block, rectangular images and windows, official names."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

timm = require("timm")
EDITS = ["depth = [2, 3, 2, 1]", "dim = [32, 64, 96, 128]"]


def oracle(size: tuple[int, int], **options: object) -> nn.Module:
    """timm's, whose widths double from stage to stage."""
    model = timm.models.gcvit.GlobalContextVit(
        img_size=size, embed_dim=32, depths=(2, 3, 2, 1), num_heads=(1, 2, 4, 8), num_classes=10, **options
    )
    randomised_state(model)
    return model.double().eval()


def ours(size: tuple[int, int], state: dict[str, Tensor], variant: str = "gcvit_xxtiny") -> nn.Module:
    edits = [EDITS[0], "dim = [32, 64, 128, 256]"]
    return metablock.build(
        "gcvit", variant=variant, input=(3, *size), classes=10, edits=edits, weights=state, dtype=torch.float64
    ).eval()


@pytest.mark.parametrize(
    ("size", "variant", "options"),
    [
        ((64, 128), "gcvit_xxtiny", {}),  # windows of 2x4, 4x8 in the third stage
        ((96, 64), "gcvit_small", {"mlp_ratio": 2.0, "layer_scale": 1e-5}),
    ],
)
def test_timm(size: tuple[int, int], variant: str, options: dict[str, float]) -> None:
    theirs = oracle(size, **options)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(ours(size, theirs.state_dict(), variant)(x), theirs(x)) < 1e-9


def test_official_names() -> None:
    """The official code ends a stage with the downsampling, and keeps its index tables."""
    theirs = oracle((64, 64), mlp_ratio=2.0, layer_scale=1e-5)
    change = [
        (r"^stem\.conv1", "patch_embed.proj"),
        (r"^stem\.down", "patch_embed.conv_down"),
        (r"stages\.3\.norm\.", "norm."),
        (r"stages\.(\d)\.downsample", lambda m: f"levels.{int(m[1]) - 1}.downsample"),
        (r"global_block\.blocks\.conv(\d)", lambda m: f"q_global_gen.to_q_global.{int(m[1]) - 1}.conv_block"),
        (r"^stages", "levels"),
        (r"conv_block\.conv_dw", "conv.0"),
        (r"conv_block\.se\.fc1", "conv.2.fc.0"),
        (r"conv_block\.se\.fc2", "conv.2.fc.2"),
        (r"conv_block\.conv_pw", "conv.3"),
        (r"rel_pos\.", ""),
        (r"ls(\d)\.gamma", r"gamma\1"),
        (r"^head\.fc", "head"),
    ]
    state = {}
    for name, tensor in theirs.state_dict().items():
        for pattern, to in change:
            name = re.sub(pattern, to, name)
        state[name] = tensor.flatten(1) if ".fc." in name else tensor
    state["levels.0.blocks.0.attn.relative_position_index"] = torch.zeros(4, 4, dtype=torch.long)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(ours((64, 64), state, "gcvit_small")(x), theirs(x)) < 1e-9


def test_queries_of_a_stage() -> None:
    """Made once from what enters it: an even block never sees them, and no odd block projects them."""
    model = metablock.build("gcvit", edits=EDITS, device="meta")
    for stage in model.stages:
        for j, block in enumerate(stage.blocks):
            assert hasattr(block.token.attn, "kv") == (j % 2 == 1)
            assert hasattr(block.token.attn, "qkv") == (j % 2 == 0)
            assert not hasattr(block.token.attn, "q")


def test_training_step() -> None:
    edits = [EDITS[0].replace("1]", "2]"), EDITS[1]]  # the last stage too has a block that reads its queries
    model = metablock.build("gcvit", variant="gcvit_small", input=(3, 64, 96), classes=10, edits=edits).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
