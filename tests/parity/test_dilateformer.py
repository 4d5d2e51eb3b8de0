"""DilateFormer. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, pad

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 1, 1]", "dim = [24, 48, 96, 192]"]


def test_three_dilations() -> None:
    """A third of the channels each, cut before the heads are; places beyond the map have a key and a value of zeros. In plain torch."""
    model = metablock.build("dilateformer", edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    randomised_state(model)
    token = model.stages[1].blocks[0].token
    x = torch.randn(2, 8, 12, 48, dtype=torch.float64)
    qkv = token.qkv.linear(x).unflatten(-1, (3, 3, 2, 8))  # q k v, dilation, heads, channels of one
    mixed = []
    for g in range(3):
        r = g + 1
        q, k, v = qkv[:, :, :, :, g].unbind(3)
        k, v = (pad(t, (0, 0, 0, 0, r, r, r, r)) for t in (k, v))
        offsets = [(i, j) for i in (0, r, 2 * r) for j in (0, r, 2 * r)]
        logits = torch.stack([(q * k[:, i : i + 8, j : j + 12]).sum(-1) for i, j in offsets], -1) * 8**-0.5
        weights = logits.softmax(-1)[..., None].unbind(-2)
        mixed.append(sum(w * v[:, i : i + 8, j : j + 12] for w, (i, j) in zip(weights, offsets, strict=True)).flatten(3))
    with torch.no_grad():
        assert relative_error(token(x), token.linear(torch.cat(mixed, -1))) < 1e-9


def test_training_step() -> None:
    model = metablock.build("dilateformer", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
