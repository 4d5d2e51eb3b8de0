"""Focal Transformer. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, unfold

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = 1", "dim = [16, 32, 64, 64]", "heads = [1, 2, 4, 4]"]
HEADS = [1, 2, 4, 4]


def network(variant: str, **options: object) -> nn.Module:
    model = metablock.build("focal_transformer", variant=variant, edits=SMALL, **options)
    randomised_state(model)
    return model


def windows(x: Tensor) -> Tensor:
    """``(b, height, width, c)`` as ``(b, windows, 49, c)``."""
    b, height, width, c = x.shape
    return x.view(b, height // 7, 7, width // 7, 7, c).transpose(2, 3).reshape(b, -1, 49, c)


def projected(token: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """q, k and v of the map, and k and v of the pooled windows, on their grids."""
    side, pool = x.shape[1] // 7, token.p.linear
    pooled = pool(windows(x).mT).reshape(len(x), side, side, -1)
    return *token.qkv(x).chunk(3, -1), *token.qkv(pooled).chunk(3, -1)[1:]


def attended(token: nn.Module, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, heads: int) -> Tensor:
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(-2, -3) for t in (q, k, v))
    return token.attention.proj(scaled_dot_product_attention(q, k, v, bias).transpose(-2, -3).flatten(-2))


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_three_kinds_of_keys(stage: int) -> None:
    """In plain torch, the ring by the four rolled maps of the paper's code."""
    model = network("tiny", dtype=torch.float64).eval()
    token, far, side = model.stages[stage].blocks[0].token, (7, 5, 3, 1)[stage], 56 >> stage
    x = torch.randn(2, side, side, min(16 << stage, 64), dtype=torch.float64)
    with torch.no_grad():
        q, k, v, far_k, far_v = projected(token, x)
        place = torch.arange(49)
        rows, columns = place // 7, place % 7
        keys, values = [windows(k)], [windows(v)]
        for dy, dx in ((-3, -3), (-3, 3), (3, -3), (3, 3)) if stage < 3 else ():
            picked = ((rows > 3) if dy < 0 else (rows < 3)) | ((columns > 3) if dx < 0 else (columns < 3))
            for into, t in ((keys, k), (values, v)):
                into.append(windows(t.roll((dy, dx), (1, 2)))[:, :, picked])
        for into, t in ((keys, far_k), (values, far_v)):
            into.append(unfold(t.movedim(-1, 1), far, padding=far // 2).unflatten(1, (-1, far * far)).permute(0, 3, 2, 1))
        outside = unfold(torch.ones(1, 1, side // 7, side // 7, dtype=torch.float64), far, padding=far // 2).mT == 0
        bias = torch.cat([part.table() for part in token.attention.pos.children()], -1)
        bias = bias.expand(side**2 // 49, -1, -1, -1).clone()
        bias[..., -far * far :] += outside[0, :, None, None] * -100.0
        wanted = attended(token, windows(q), torch.cat(keys, 2), torch.cat(values, 2), bias, HEADS[stage])
        assert keys[0].shape[2] + sum(t.shape[2] for t in keys[1:]) == (230, 206, 190, 50)[stage]
        assert relative_error(windows(token(x)), wanted) < 1e-9


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_the_nearest_tokens(stage: int) -> None:
    """Version 2 in plain torch: the tokens of the whole map by their distance, first those that stand first."""
    model = network("fast_tiny", dtype=torch.float64).eval()
    token, side = model.stages[stage].blocks[0].token, 56 >> stage
    x = torch.randn(2, side, side, min(16 << stage, 64), dtype=torch.float64)
    at = torch.cartesian_prod(*[torch.arange(side, dtype=torch.float64)] * 2)
    here = windows(at.view(1, side, side, 2))[0]
    middle = here.mean(1)
    order = (middle[:, None] - at).square().sum(-1).argsort(dim=-1, stable=True)[:, :128]
    with torch.no_grad():
        q, k, v, far_k, far_v = projected(token, x)
        k, v = (torch.cat([near.flatten(1, 2)[:, order], far.flatten(1, 2)[:, None].expand(-1, len(order), -1, -1)], 2)
                for near, far in ((k, far_k), (v, far_v)))  # fmt: skip
        offsets = [here[:, :, None] - at[order][:, None], here[:, :, None] - middle[None, None]]
        biases = [token.attention.pos[i].bias for i in range(2)]
        bias = torch.cat([b.linear2(b.linear1(d).relu()) for b, d in zip(biases, offsets, strict=True)], 2).movedim(-1, 1)
        assert relative_error(windows(token(x)), attended(token, windows(q), k, v, bias, HEADS[stage])) < 1e-9


def test_tables_start_as_in_the_code() -> None:
    """The window's own at zero, the others drawn."""
    pos = metablock.build("focal_transformer", edits=SMALL).stages[0].blocks[0].token.attention.pos
    assert not pos[0].table.weight.any()
    for i in (1, 2):
        assert 0.015 < pos[i].table.weight.std().item() < 0.025


@pytest.mark.parametrize("variant", ["tiny", "fast_tiny"])
def test_training_step(variant: str) -> None:
    model = network(variant, classes=3).train()
    nn.functional.cross_entropy(model(torch.randn(2, 3, 224, 224)), torch.arange(2)).backward()
    check_gradients(model, moved=True)
