"""Shuffle Transformer. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [2, 2, 2, 2]", "dim = [32, 64, 96, 128]"]


@pytest.mark.parametrize("block", [0, 1])
def test_shuffled_windows(block: int) -> None:
    """The tokens of a window are neighbours in even blocks, and 2 by 4 places apart in odd ones. In plain torch."""
    model = metablock.build("shuffle_transformer", edits=SMALL, input=(3, 112, 224), dtype=torch.float64).eval()
    randomised_state(model)
    token = model.stages[1].blocks[block].token
    x = torch.randn(2, 14, 28, 64, dtype=torch.float64)
    windows = [(slice(i, i + 7), slice(j, j + 7)) for i in (0, 7) for j in (0, 7, 14, 21)]
    if block == 1:
        windows = [(slice(i, None, 2), slice(j, None, 4)) for i in range(2) for j in range(4)]
    places = torch.stack(torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij"), -1).flatten(0, 1)
    index = (places[:, None] - places + 6) @ torch.tensor([13, 1])
    bias = token.attn.pos.table.weight[index].permute(2, 0, 1)

    def heads_of(part: Tensor) -> Tensor:
        return part.flatten(1, 2).unflatten(-1, (2, 32)).transpose(1, 2)

    mixed = torch.zeros_like(x)
    for window in windows:
        q, k, v = (heads_of(part) for part in token.attn.qkv(x[:, *window]).chunk(3, -1))
        weights = (q @ k.mT * 32**-0.5 + bias).softmax(-1)
        mixed[:, *window] = (weights @ v).transpose(1, 2).reshape(2, 7, 7, 64)
    with torch.no_grad():
        assert relative_error(token(x.movedim(-1, 1)), token.attn.proj(mixed)) < 1e-9


@pytest.mark.parametrize(("variant", "last"), [("t", 0.1), ("s", 0.3), ("b", 0.5)])
def test_one_drop_rate_a_stage(variant: str, last: float) -> None:
    """It grows from stage to stage; the convolution between attention and channels is never dropped."""
    model = metablock.build("shuffle_transformer", variant=variant, edits=SMALL)
    for i, stage in enumerate(model.stages):
        for block in stage.blocks:
            rates = [float(buffer) for name, buffer in block.named_buffers() if "drop" in name]
            assert rates == pytest.approx([last * i / 3] * 2)


def test_training_step() -> None:
    model = metablock.build("shuffle_transformer", input=(3, 112, 112), classes=10, edits=SMALL).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(4, 3, 112, 112)), torch.arange(4)).backward()
    check_gradients(model, moved=True)
