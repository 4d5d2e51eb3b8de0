"""BiFormer beside its recorded output (tests/test_papers.py): training, other sizes. (timm does not have it.)"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state

SMALL = ["depth = [1, 1, 2, 1]", "dim = [32, 64, 96, 128]"]


def test_training_step() -> None:
    model = metablock.build("biformer", input=(3, 112, 224), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 112, 224)), torch.arange(4)).backward()
    check_gradients(model, moved=True)


def test_regions_grow_with_the_map() -> None:
    """Seven by seven of them, whatever the image: the code stops at 192 and 256 pixels too."""
    with pytest.raises(metablock.MetablockError, match="7x7 regions do not divide a map of 64x64"):
        metablock.build("biformer", input=(3, 256, 256), device="meta")
    assert metablock.build("biformer", input=(3, 448, 448), device="meta")
    assert metablock.build("biformer", input=(3, 256, 256), edits=["regions = 8"], device="meta")
