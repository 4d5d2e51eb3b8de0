"""FAT. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 2, 1]", "width = [16, 32, 64, 128]"]


@pytest.mark.parametrize(("stage", "steps"), [(0, 3), (2, 1), (3, 0)])
def test_fully_adaptive_attention(stage: int, steps: int) -> None:
    """Both branches start from one projection; keys are halved in steps, rounded up where the map is odd."""
    model = metablock.build("fat", edits=SMALL, input=(3, 64, 96), dtype=torch.float64).eval()
    randomised_state(model)
    token, c = model.stages[stage].blocks[0].token, 16 << stage
    x = torch.randn(2, c, 13, 18, dtype=torch.float64)
    q, y = token.q(x), x
    if steps:
        pool = token.far.attention.over.reduce
        parts = [pool.halve, *(part.halve for part in getattr(pool, "refines", []))]
        for i, part in enumerate(parts):
            y = part.bn(part.dw(y if i == 0 else pool.refines[i - 1].pw(y)))
        assert len(parts) == steps
    assert y.shape[2:] == (-(-13 // 2**steps), -(-18 // 2**steps))
    k, v = token.far.attention.kv(y).flatten(2).chunk(2, 1)
    q, k, v, local = (t.unflatten(1, (c // 16, 16)).transpose(-1, -2) for t in (q.flatten(2), k, v, token.local.dw(q).flatten(2)))
    far = scaled_dot_product_attention(q, k, v)
    local = local * local.sigmoid()
    mixed = (local * far.sigmoid() * far).transpose(-1, -2).reshape(2, c, 13, 18)
    with torch.no_grad():
        assert relative_error(token(x), token.pw(mixed)) < 1e-9


def test_training_step() -> None:
    model = metablock.build("fat", input=(3, 64, 96), classes=10, edits=SMALL).train()
    randomised_state(model)
    cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
