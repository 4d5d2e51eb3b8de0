"""MSG-Transformer. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = 1", "dim = [16, 32, 64, 64]", "heads = [1, 1, 2, 2]"]


def test_a_block_with_its_exchange() -> None:
    """In plain torch: 16 windows a region, each with its messenger; parts of messengers change places between the residuals."""
    model = metablock.build("msg_transformer", edits=SMALL, dtype=torch.float64).eval()
    randomised_state(model)
    block, c = model.stages[0].blocks[0], 16
    x, m = torch.randn(2, 56, 56, c, dtype=torch.float64), torch.randn(2, 8, 8, c, dtype=torch.float64)
    with torch.no_grad():
        found = block(x, m)
        windows = x.view(2, 8, 7, 8, 7, c).transpose(2, 3).reshape(2, 64, 49, c)
        y = torch.cat([m.view(2, 64, 1, c), windows], 2)  # batch, window, the messenger and its patches, channel
        attention = block.xm.attend.y.attn
        q, k, v = attention.qkv(block.xm.norm(y)).chunk(3, -1)
        y = y + attention.proj(scaled_dot_product_attention(q, k, v, attention.pos.table()[0]))
        messengers = y[:, :, 0].view(2, 2, 4, 2, 4, c).transpose(2, 3).reshape(2, 4, 16, 16, 1)  # region, from, part, its channel
        messengers = messengers.transpose(2, 3).reshape(2, 2, 2, 4, 4, c).transpose(2, 3).reshape(2, 64, 1, c)
        y = torch.cat([messengers, y[:, :, 1:]], 2)
        y = y + block.mlp.linear2(gelu(block.mlp.linear1(block.norm(y))))
    wanted = y[:, :, 1:].reshape(2, 8, 8, 7, 7, c).transpose(2, 3).reshape(2, 56, 56, c), y[:, :, 0].reshape(2, 8, 8, c)
    for one, other in zip(found, wanted, strict=True):
        assert relative_error(one, other) < 1e-9


def test_one_convolution_makes_both_maps_smaller() -> None:
    model = metablock.build("msg_transformer", edits=SMALL, device="meta")
    names = [name for name, _ in model.stages[1].named_parameters() if name.startswith("down")]
    assert names == ["down.conv.weight", "down.conv.bias", "down.norm.weight", "down.norm.bias"]
    x, m = model.stages[1].down(*(torch.empty(1, side, side, 16, device="meta") for side in (56, 8)))
    assert (x.shape, m.shape) == ((1, 28, 28, 32), (1, 4, 4, 32))


def test_training_step() -> None:
    model = metablock.build("msg_transformer", classes=3, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(2, 3, 224, 224)), torch.arange(2)).backward()
    check_gradients(model, moved=True)
