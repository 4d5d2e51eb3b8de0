"""DeiT against timm's, plain and distilled: training gives the logits of both heads, evaluation their mean."""

from __future__ import annotations

import pytest
import torch

import metablock
from oracles import check_gradients, randomised_state, relative_error, require

timm = require("timm")
SIZE = (48, 80)


def pair(name: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Ours and timm's, with the same weights: two blocks, ten classes."""
    reference = timm.create_model(name, img_size=SIZE, depth=2, num_classes=10).double()
    state = randomised_state(reference)
    model = metablock.build(
        name, input=(3, *SIZE), classes=10, edits=["depth = 2", "drop = 0"], weights=state, dtype=torch.float64
    )
    return model, reference


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_parity(name: str) -> None:
    model, reference = pair(name)
    x = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(model.eval()(x), reference.eval()(x)) < 1e-9


def test_distilled_training() -> None:
    """Both heads, by name; timm's answer as a pair must be asked for."""
    model, reference = pair("deit_tiny_distilled_patch16_224")
    reference.set_distilled_training(True)
    x = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    heads, expected = model.train()(x), reference.train()(x)
    assert list(heads) == ["cls", "dist"]
    for ours, theirs in zip(heads.values(), expected, strict=True):
        assert relative_error(ours, theirs) < 1e-9
    assert relative_error(model.eval()(x), (heads["cls"] + heads["dist"]) / 2) < 1e-12


def test_distilled_step() -> None:
    """Hard distillation (Eq. 3): the label for one head, the teacher's decision for the other, in equal parts."""
    model = metablock.build("deit_tiny_distilled_patch16_224", input=(3, *SIZE), classes=10, edits=["depth = 2"]).train()
    heads, loss = model(torch.randn(4, 3, *SIZE)), torch.nn.functional.cross_entropy
    label, teacher = torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 5])
    (0.5 * loss(heads["cls"], label) + 0.5 * loss(heads["dist"], teacher)).backward()
    check_gradients(model, moved=True)


def test_drop_path_rises_to_its_rate() -> None:
    model = metablock.build("deit_tiny_patch16_224", input=(3, *SIZE), edits=["depth = 3"])
    assert [block.drop.rate.item() for block in model.stages[0].blocks] == pytest.approx([0, 0.05, 0.1])
