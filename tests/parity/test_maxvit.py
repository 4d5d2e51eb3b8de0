"""MaxViT against timm: its ports of the official weights (`tf`) and its own redesigns, on rectangular images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, exact_log_distances, randomised_state, relative_error, require

timm = require("timm")
maxxvit = timm.models.maxxvit
SIZE = (64, 96)  # windows and grids of 2x3
EDITS = ["depth = [1, 2, 1, 1]", "dim = [32, 64, 96, 128]", "stem_dim = [24, 32]"]
VARIANTS = [
    "maxvit_tiny_tf_224", "maxvit_tiny_rw_224", "maxvit_rmlp_small_rw_224", "maxvit_rmlp_base_rw_224", "maxvit_tiny_pm_256",
]  # fmt: skip


def configuration(variant: str) -> object:
    """timm's, with the same edits."""
    given = maxxvit.model_cfgs[variant.rpartition("_")[0]]
    hidden = 128 if given.head_hidden_size else None
    return replace(given, embed_dim=(32, 64, 96, 128), depths=(1, 2, 1, 1), stem_width=(24, 32), head_hidden_size=hidden)


def oracle(variant: str) -> nn.Module:
    model = maxxvit.MaxxVit(configuration(variant), img_size=SIZE, num_classes=10)
    randomised_state(model)
    model.double().eval()
    exact_log_distances(model)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_timm(variant: str) -> None:
    theirs = oracle(variant)
    model = metablock.build(
        "maxvit", variant=variant, input=(3, *SIZE), classes=10, edits=EDITS, weights=theirs.state_dict(), dtype=torch.float64
    ).eval()
    x = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), theirs(x)) < 1e-9


def test_tables_of_another_window_are_resized() -> None:
    """A checkpoint at 64x64 brought to 128x128: windows of 2 become windows of 4, as timm resizes Swin's tables."""
    small = maxxvit.MaxxVit(configuration("maxvit_tiny_tf_224"), img_size=64, num_classes=10).state_dict()
    model = metablock.build("maxvit", input=(3, 128, 128), classes=10, edits=EDITS, weights=small)
    theirs = small["stages.1.blocks.1.attn_grid.attn.rel_pos.relative_position_bias_table"]
    wanted = timm.layers.resize_rel_pos_bias_table_simple(theirs, (4, 4), (2, 7, 7))
    found = model.stages[1].blocks[1].across.token.pos.table.weight
    assert relative_error(found, wanted.flip(1, 2).flatten(1).T) < 1e-6


def test_grids_reach_over_the_whole_map() -> None:
    """Block attention stays within its window, grid attention joins tokens that lie far apart."""
    model = metablock.build("maxvit", input=(3, *SIZE), edits=EDITS, dtype=torch.float64).eval()
    randomised_state(model)
    block, x = model.stages[0].blocks[0], torch.randn(1, 16, 24, 32, dtype=torch.float64)
    y = x.clone()
    y[0, 0, 0] += torch.randn(32, dtype=torch.float64)
    for part, rows, columns in ((block.within, (0, 1), (0, 1, 2)), (block.across, (0, 8), (0, 8, 16))):
        with torch.no_grad():
            before, after = (part(z.permute(0, 3, 1, 2)) for z in (x, y))
        changed = (before - after).abs().amax(1 if before.shape[1] == 32 else 3)[0] > 1e-12
        assert {(int(i), int(j)) for i, j in changed.nonzero()} == {(i, j) for i in rows for j in columns}


@pytest.mark.parametrize("variant", ["maxvit_tiny_tf_224", "maxvit_tiny_pm_256"])
def test_training_step(variant: str) -> None:
    model = metablock.build("maxvit", variant=variant, input=(3, *SIZE), classes=10, edits=EDITS).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, *SIZE)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
