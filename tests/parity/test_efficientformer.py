"""EfficientFormer against timm, in evaluation the mean of both heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

DIM = (16, 24, 32, 48)
SMALL = [f"dim = {[*DIM, DIM[-1]]}"]


@pytest.mark.parametrize(("maps", "tokens"), [(2, 2), (1, 1), (0, 2)])
def test_timm(maps: int, tokens: int) -> None:
    """timm's tables fit 7 by 7 places alone, 224 by 224 pixels."""
    timm = require("timm").models.efficientformer
    depths = (1, 2, 1, maps + tokens)
    reference = timm.EfficientFormer(depths, DIM, num_vit=tokens, num_classes=10, layer_scale_init_value=1e-5).double()
    state = randomised_state(reference)
    reference = reference.train().eval()  # it gathers its biases at the first evaluation
    edits = [*SMALL, f"depth = [1, 2, 1, {maps}, {tokens}]"]
    model = metablock.build("efficientformer", weights=state, classes=10, edits=edits, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-9


def test_training_step() -> None:
    """Training gives both heads' logits, for one loss each."""
    edits = [*SMALL, "depth = [1, 1, 1, 1, 1]"]
    model = metablock.build("efficientformer", input=(3, 64, 96), classes=10, edits=edits).train()
    randomised_state(model)
    answers = model(torch.randn(4, 3, 64, 96))
    assert set(answers) == {"cls", "dist"}
    sum(nn.functional.cross_entropy(logits, torch.arange(4)) for logits in answers.values()).backward()
    check_gradients(model, moved=True)


def test_the_biases_begin_at_zero_and_know_distances_alone() -> None:
    model = metablock.build("efficientformer", edits=SMALL)
    table = model.stages[4].blocks[0].token.pos.table
    assert table.weight.shape == (49, 8)
    assert not table.weight.any()
    randomised_state(table)
    bias = table().view(8, 7, 7, 7, 7)
    torch.testing.assert_close(bias, bias.flip(1, 3))
    torch.testing.assert_close(bias, bias.transpose(1, 3))
