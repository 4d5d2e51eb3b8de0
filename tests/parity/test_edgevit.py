"""EdgeViT. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import torch
from torch.nn.functional import conv_transpose2d, cross_entropy, scaled_dot_product_attention

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 1, 1]", "dim = [12, 24, 48, 96]", "head_dim = 12"]


def test_sparse_attention() -> None:
    """Queries, keys and values are the first pixel of each 2 x 2 cell; the norm and the projection are behind the way back. In plain torch."""
    model = metablock.build("edgevit", edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    randomised_state(model)
    token = model.stages[1].blocks[0].attend.token
    x = torch.randn(2, 8, 12, 24, dtype=torch.float64)
    qkv = token.attention.qkv(x[:, ::2, ::2]).flatten(1, 2).unflatten(-1, (3, 2, 12))
    mixed = scaled_dot_product_attention(*(qkv[:, :, i].transpose(1, 2) for i in range(3))).transpose(1, 2).reshape(2, 4, 6, 24)
    deconv = token.spread.deconv
    back = conv_transpose2d(mixed.movedim(-1, 1), deconv.weight, deconv.bias, stride=2, groups=24).movedim(1, -1)
    with torch.no_grad():
        assert relative_error(token(x), token.spread.linear(token.spread.layer_norm(back))) < 1e-9


def test_the_last_stage_has_no_local_part() -> None:
    model = metablock.build("edgevit", edits=SMALL, device="meta")
    names = [{name.split(".")[0] for name, _ in stage.blocks[0].named_parameters()} for stage in model.stages]
    assert names == [{"gather", "attend"}] * 3 + [{"attend"}]
    assert [hasattr(stage.blocks[0].attend.token, "spread") for stage in model.stages] == [True] * 3 + [False]


def test_two_epsilons() -> None:
    """1e-6 in blocks; 1e-5 of batch norms and where patches are embedded or spread."""
    model = metablock.build("edgevit", edits=SMALL, device="meta")
    for name, module in model.named_modules():
        if "norm" in name.rpartition(".")[2]:
            assert module.eps == (1e-5 if name.endswith("layer_norm") else 1e-6), name


def test_training_step() -> None:
    model = metablock.build("edgevit", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
