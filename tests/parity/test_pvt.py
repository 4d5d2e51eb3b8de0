"""PVT. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import torch
from torch import nn

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 1, 1]", "dim = [8, 16, 40, 64]", "ratio = 2"]


def test_class_token_joins_in_the_last_stage() -> None:
    """Its row in the last table is the first; the other tables have one row a place."""
    model = metablock.build("pvt", edits=SMALL, input=(3, 64, 96))
    rows = [stage.down.position.weight.shape[1] for stage in model.stages]
    assert rows == [16 * 24, 8 * 12, 4 * 6, 2 * 3 + 1]
    assert [hasattr(stage.down, "cls") for stage in model.stages] == [False, False, False, True]


def test_two_epsilons() -> None:
    """1e-6 in blocks and head; what the constructor gives, 1e-5, behind the convolutions."""
    model = metablock.build("pvt", edits=SMALL, device="meta")
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm) or name.endswith(("norm", "norm1", "norm2")):
            assert module.eps == (1e-5 if name.endswith("layer_norm") else 1e-6), name


def test_keys_are_reduced_but_in_the_last_stage() -> None:
    """Spatial reduction, eq. 2 and 3: 8 x 8, 4 x 4 and 2 x 2 tokens become one key; the answer, by torch's own attention."""
    model = metablock.build("pvt", edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    randomised_state(model)
    for stage, ratio in zip(model.stages, (8, 4, 2, None), strict=True):
        token = stage.blocks[0].token
        assert hasattr(token, "over") == (ratio is not None)
        if ratio is None:
            continue
        assert tuple(token.over.conv.weight.shape[2:]) == (ratio, ratio)
        c = token.q.weight.shape[0]
        heads = {8: 1, 16: 2, 40: 5}[c]
        x = torch.randn(2, 8, 16, c, dtype=torch.float64)
        q, source = token.q(x).flatten(1, 2), token.over.conv(x.permute(0, 3, 1, 2)).flatten(2).mT
        k, v = token.kv(token.over.layer_norm(source)).chunk(2, -1)
        q, k, v = (t.unflatten(2, (heads, c // heads)).transpose(1, 2) for t in (q, k, v))
        expected = token.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        with torch.no_grad():
            assert relative_error(token(x).reshape(expected.shape), expected) < 1e-9


def test_training_step() -> None:
    model = metablock.build("pvt", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
