"""CMT. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, gelu, scaled_dot_product_attention

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 2, 1]", "dim = [8, 16, 32, 64]"]


def build(variant: str = "cmt_ti", **options: object) -> nn.Module:
    return metablock.build("cmt", variant=variant, edits=SMALL, input=(3, 64, 96), **options)


@pytest.mark.parametrize(("i", "r", "heads"), [(0, 8, 1), (1, 4, 2), (3, 1, 8)])
def test_lightweight_attention(i: int, r: int, heads: int) -> None:
    """Eq. 2: keys and values of a depthwise reduction, a number for each head, query and key; by torch's own attention."""
    model = build(dtype=torch.float64).eval()
    randomised_state(model)
    stage = model.stages[i]
    token, table, c = stage.blocks[0].token, stage.shared.table.table.weight, 8 << i
    x = torch.randn(2, 16 >> i, 24 >> i, c, dtype=torch.float64)
    source = x.permute(0, 3, 1, 2)
    if r > 1:
        source = token.over.bn(conv2d(source, token.over.dw.weight, token.over.dw.bias, stride=r, groups=c))
    source = source.flatten(2).mT
    q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (token.q(x.flatten(1, 2)), token.k(source), token.v(source)))
    assert table.shape == (heads, q.shape[2], k.shape[2])
    expected = token.proj(scaled_dot_product_attention(q, k, v, table).transpose(1, 2).flatten(2))
    with torch.no_grad():
        assert relative_error(token(x).reshape(expected.shape), expected) < 1e-9


def test_inverted_residual_ffn() -> None:
    """Eq. 3: the residual is inside the activation, each norm behind its activation, the last without one."""
    model = build(dtype=torch.float64).eval()
    randomised_state(model)
    ffn, x = model.stages[0].blocks[0].channel, torch.randn(2, 8, 16, 24, dtype=torch.float64)
    hidden = int(3.6 * 8)
    y = ffn.widen.bn(gelu(conv2d(x, ffn.widen.conv.weight, ffn.widen.conv.bias)))
    y = ffn.bn1(gelu(y + conv2d(y, ffn.dw.weight, ffn.dw.bias, padding=1, groups=hidden)))
    expected = ffn.bn2(conv2d(y, ffn.pw.weight, ffn.pw.bias))
    with torch.no_grad():
        assert relative_error(ffn(x.permute(0, 2, 3, 1)), expected) < 1e-9


def test_one_table_a_stage() -> None:
    """Of standard deviation 1, as the official code draws it; every block of the stage reads it."""
    model = build()
    tables = {name: p for name, p in model.named_parameters() if "table" in name}
    assert list(tables) == [f"stages.{i}.shared.table.table.weight" for i in range(4)]
    assert tables["stages.0.shared.table.table.weight"].std().item() == pytest.approx(1, abs=0.05)
    x = torch.randn(1, 3, 64, 96)
    model.eval()
    with torch.no_grad():
        before = model(x)
        tables["stages.2.shared.table.table.weight"].mul_(3)
        assert not torch.equal(model(x), before)


def test_two_epsilons() -> None:
    model = build(device="meta")
    for name, module in model.named_modules():
        if name.endswith(("layer_norm", "norm1", "norm2")):
            assert module.eps == (1e-5 if name.endswith("layer_norm") else 1e-6), name


def test_training_step() -> None:
    model = build(classes=10).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 96)), torch.arange(8)).backward()
    check_gradients(model, moved=True)
