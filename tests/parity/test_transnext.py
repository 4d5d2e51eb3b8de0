"""TransNeXt. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the oracle.

Its attention is written down here once more, from the formulas.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from oracles import check_gradients, randomised_state, relative_error

SMALL = ["depth = [1, 1, 2, 1]", "dim = [24, 48, 72, 96]"]


def small(*edits: str, input: tuple[int, ...] = (3, 64, 96), **options: object) -> nn.Module:
    return metablock.build("transnext", input=input, classes=10, edits=[*SMALL, *edits], **options)


def log_spaced(distance: Tensor, trained: int) -> Tensor:
    distance = distance / (trained - 1) * 8
    return distance.sign() * torch.log2(distance.abs() + 1) / math.log2(8)


def position_bias(token: nn.Module, name: str, queries: tuple[int, int], keys: tuple[int, int], trained: int) -> Tensor:
    """``(heads, N, P)``: the module on every pair, not on every distance."""
    axes = []
    for n, m in zip(queries, keys, strict=True):
        places = torch.arange(n, dtype=torch.float64)
        axes.append(places[:, None] - F.adaptive_avg_pool1d(places[None], m)[0])
    y, x = axes
    pairs = torch.stack([y[:, None, :, None].expand(*queries, *keys), x[None, :, None, :].expand(*queries, *keys)], -1)
    by = token.get_submodule(f"{name}.by")
    return by.linear2(by.linear1(log_spaced(pairs, trained)).relu()).flatten(0, 1).flatten(1, 2).permute(2, 0, 1)


def heads(x: Tensor) -> Tensor:
    """``(b, N, c)`` to ``(b, h, N, 24)``."""
    return x.unflatten(-1, (-1, 24)).transpose(1, 2)


def aggregated(token: nn.Module, x: Tensor, trained: int, small: tuple[int, int]) -> Tensor:
    """Aggregated attention on ``(b, H, W, c)``, query by query."""
    grid, t = tuple(x.shape[1:3]), x.flatten(1, 2)
    q = F.normalize(heads(token.q(t)), dim=-1)
    k, v = (heads(part) for part in token.kv(t).chunk(2, -1))
    far = F.gelu(F.conv2d(x.movedim(-1, 1), token.over.far.pw.weight, token.over.far.pw.bias))
    far = token.over.far.layer_norm(F.adaptive_avg_pool2d(far, small).flatten(2).mT)
    far_k, far_v = (heads(part) for part in token.kv(far).chunk(2, -1))
    k, far_k = F.normalize(k, dim=-1), F.normalize(far_k, dim=-1)
    h = q.shape[1]
    moved = (q + token.query.learned.weight.view(h, 1, 24)) * F.softplus(token.scale.temperature.scale.weight).view(h, 1, 1)
    far_bias = position_bias(token, "pos.1", grid, small, trained)
    near_bias, outside = token.pos[0].table.weight, token.extra[0]
    result = torch.empty_like(q)
    for i, (row, column) in enumerate(itertools.product(range(grid[0]), range(grid[1]))):
        around = [(j, row + j // 3 - 1, column + j % 3 - 1) for j in range(9)]
        inside = [(j, a * grid[1] + b) for j, a, b in around if 0 <= a < grid[0] and 0 <= b < grid[1]]
        taps, places = map(list, zip(*inside, strict=True))
        keys, values = torch.cat([k[:, :, places], far_k], 2), torch.cat([v[:, :, places], far_v], 2)
        bias = torch.cat([near_bias[taps].T, far_bias[:, i]], 1)
        logits = (keys @ moved[:, :, i, :, None]).squeeze(-1) * math.log(len(taps) + far_k.shape[2]) + bias
        weights = logits.softmax(-1)
        direct = torch.einsum("bhd,hkd->bhk", q[:, :, i], outside.weight.view(h, 9, 24)) + outside.bias.view(h, 9)
        weights = torch.cat([weights[..., : len(taps)] + direct[..., taps], weights[..., len(taps) :]], -1)
        result[:, :, i] = (weights.unsqueeze(-2) @ values).squeeze(-2)
    return token.proj(result.transpose(1, 2).flatten(2)).unflatten(1, grid)


def whole(token: nn.Module, x: Tensor, trained: int) -> Tensor:
    """Attention of the last stage."""
    grid, t = tuple(x.shape[1:3]), x.flatten(1, 2)
    q, k, v = (heads(part) for part in token.qkv(t).chunk(3, -1))
    h, n = q.shape[1:3]
    q = F.normalize(q, dim=-1) + token.query.learned.weight.view(h, 1, 24)
    q = q * F.softplus(token.scale.temperature.scale.weight).view(h, 1, 1) * math.log(n)
    logits = q @ F.normalize(k, dim=-1).mT + position_bias(token, "pos", grid, grid, trained)
    return token.proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2)).unflatten(1, grid)


@pytest.mark.usefixtures("float64")  # the logarithms of distances too
@pytest.mark.parametrize(("input", "edits"), [((3, 64, 96), []), ((3, 97, 131), ["trained = 384"])])
def test_attention(input: tuple[int, ...], edits: list[str]) -> None:
    """Unequal extents, and maps (25 by 33, 13 by 17 ...) that the pooled one (3 by 4) does not divide."""
    model = small(*edits, input=input).eval()
    randomised_state(model)
    trained, grid = 384 if edits else 224, [(s + 3) // 4 for s in input[1:]]
    pooled = (input[1] // 32, input[2] // 32)
    for i, stage in enumerate(model.stages):
        token, x = stage.blocks[0].token, torch.randn(2, *grid, 24 * (i + 1))
        with torch.no_grad():
            expected = aggregated(token, x, trained // 2 ** (i + 2), pooled) if i < 3 else whole(token, x, trained // 32)
            assert relative_error(token(x), expected) < 1e-9
        grid = [(s + 1) // 2 for s in grid]


def test_gate() -> None:
    """ConvGLU: the convolution and the activation are on one half only; the width is cut twice."""
    model = small("ratio = 3.9", "dim = [24, 48, 72, 120]", dtype=torch.float64).eval()
    randomised_state(model)
    channel, x = model.stages[3].blocks[0].channel, torch.randn(2, 2, 3, 120, dtype=torch.float64)
    assert channel.dw.weight.shape[0] == 312 == int(2 * 468 / 3)
    with torch.no_grad():
        a, v = channel.linear1(x).movedim(-1, 1), channel.linear2(x).movedim(-1, 1)
        a = F.gelu(F.conv2d(a, channel.dw.weight, channel.dw.bias, padding=1, groups=312))
        assert relative_error(channel(x), channel.linear3((a * v).movedim(1, -1))) < 1e-12


def test_fine_tuned_at_another_size() -> None:
    """At 384 the weights of 224 go on, and equal distances have equal biases."""
    at_224, at_384 = (metablock.build("transnext", variant=v, edits=SMALL, dtype=torch.float64) for v in ("small", "small_384"))
    at_384.load_state_dict(randomised_state(at_224))
    biases = []
    for model, n in ((at_224, 7), (at_384, 12)):
        pos = model.stages[3].blocks[0].token.pos
        biases.append(pos.table(pos.by(pos.distances())).view(-1, n, n, n, n)[:, :7, :7, :7, :7])
    torch.testing.assert_close(*biases)


def test_parts_of_micro() -> None:
    model = metablock.build("transnext", device="meta")
    blocks = [sum(p.numel() for p in stage.blocks.parameters()) for stage in model.stages]
    assert blocks == [110224, 410912, 7430880, 3590720]
    assert [stage.end.eps for stage in model.stages] == [1e-6] * 4
    block = model.stages[1].blocks[0]
    assert (block.norm1.eps, block.norm2.eps) == (1e-6, 1e-6)
    assert (block.token.over.far.layer_norm.eps, model.stem.layer_norm.eps) == (1e-5, 1e-5)


def test_init() -> None:
    model = metablock.build("transnext")
    token = model.stages[2].blocks[0].token
    temperature = F.softplus(token.scale.temperature.scale.weight)
    torch.testing.assert_close(temperature, torch.full_like(temperature, 1 / 0.24), rtol=1e-5, atol=0)
    assert abs(token.extra[0].weight.std() - 0.02) < 2e-3 and not token.extra[0].bias.any()
    assert abs(token.query.learned.weight.std() - 0.02) < 3e-3
    assert abs(token.pos[0].table.weight.std() - 4e-4) < 1e-4
    assert abs(token.over.far.pw.weight.std() - (2 / 192) ** 0.5) < 2e-3
    assert abs(model.stages[2].blocks[0].channel.dw.weight.std() - (2 / 9) ** 0.5) < 2e-2
    assert abs(token.pos[1].by.linear1.weight.std() - 0.02) < 2e-3
    assert abs(token.kv.weight.std() - 0.02) < 1e-3 and not token.kv.bias.any()


CUT = ["near = none", "far = none", "learnable = none", "cpb = none", "moved = id", "length = temperature"]


@pytest.mark.parametrize("edit", [*CUT, "k = 5", "token = aggregated"])
def test_ablations(edit: str) -> None:
    """Every part of the attention is a binding."""
    model = small(edit, "channel = none", input=(3, 64, 64)).train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(2, 3, 64, 64)), torch.arange(2)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_training_step() -> None:
    model = small("drop = 0").train()
    randomised_state(model)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 64, 96)), torch.arange(4)).backward()
    check_gradients(model, moved=True)
