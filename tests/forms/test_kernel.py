"""Attention by features of queries and keys, without a softmax, against plain arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.errors import SpecError
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
PLAIN = "q=id, k=id, v=id, proj=id"


def build(model: str, grid: tuple[int, ...] = (5, 4), c: int = 8) -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (c, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()


def heads(x: Tensor, n: int = 2) -> Tensor:
    """A map as ``(b, heads, tokens, channels)``."""
    return x.flatten(2).unflatten(1, (n, -1)).mT


def weighted(q: Tensor, k: Tensor, v: Tensor, eps: float = 1e-6) -> Tensor:
    """By the matrix of all pairs that the operator avoids; as ``(b, tokens, channels)``."""
    weights = q @ k.mT
    return (weights / (weights.sum(-1, keepdim=True) + eps) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("grid", [(7,), (5, 4), (3, 4, 3)], ids=str)
@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_relu(grid: tuple[int, ...], eps: float) -> None:
    x = torch.randn(3, 8, *grid)
    result = build(f"attention(2, {PLAIN}, feature=relu, eps={eps})", grid)(x)
    t = heads(x)
    torch.testing.assert_close(result.flatten(1, -2), weighted(t.relu(), t.relu(), t, eps))


def test_a_feature_of_another_width_has_one_set_of_weights() -> None:
    """Queries on a map, keys on a coarser one with a token more."""
    over = "over=avg_pool(2, stride=2) >> join(learned(1), id)"
    model = build(f"id >> attention(2, q=id, {over}, proj=id, feature=linear(3) >> sigmoid)", (4, 6))
    x = torch.randn(3, 8, 4, 6)
    assert sum(name.endswith("linear.weight") for name in model.state_dict()) == 1
    model = model.attention
    kv = model.kv(torch.cat([model.over.learned.weight.expand(3, -1, -1), nn.functional.avg_pool2d(x, 2).flatten(2).mT], 1))
    k, v = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in kv.chunk(2, -1))
    expected = weighted(model.feature.linear(heads(x)).sigmoid(), model.feature.linear(k).sigmoid(), v)
    torch.testing.assert_close(model(x).flatten(1, -2), expected)


def test_union_and_values_beside() -> None:
    x = torch.randn(3, 8, 4, 6)
    model = build("attention(2, q=id, k=id, v=id, over=[id, avg_pool(2, stride=2)], proj=id, feature=softplus)", (4, 6))
    t, small = heads(x), heads(nn.functional.avg_pool2d(x, 2))
    both, f = torch.cat([t, small], 2), nn.functional.softplus
    torch.testing.assert_close(model(x).flatten(1, -2), weighted(f(t), f(both), both))


def test_random_features_come_near_to_a_softmax() -> None:
    """Their products are the exponentials of scalar products, in the mean over what is drawn."""
    torch.manual_seed(0)
    x = 0.5 * torch.randn(1, 4, 6)
    features = build("random_features(50000)", (6,), 4)(x)[0]
    torch.testing.assert_close(features @ features.T, (x[0].T @ x[0]).exp(), rtol=0.1, atol=0)


# Logits of a module


def test_logits_of_each_query() -> None:
    """As many channels as heads and keys; their default factor is that of scalar products."""
    model = build("id >> attention(2, v=id, logits=linear(2 * 20), proj=id)")
    x = torch.randn(3, 8, 5, 4)
    logits = model.attention.logits(x.flatten(2).mT).unflatten(-1, (2, 20)).transpose(1, 2)
    expected = (0.5 * logits).softmax(-1) @ heads(x)
    torch.testing.assert_close(model(x).flatten(1, -2), expected.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("grid", [(7,), (5, 4), (7, 6)], ids=str)
def test_outlook(grid: tuple[int, ...]) -> None:
    """A token for each window says how its places mix; overlapping windows are added, as ``F.fold`` does it."""
    k = 3 ** len(grid)
    model = build(
        f"|\n  x ->\n  a = x >> avg_pool(2, stride=2, ceil=true) >> linear({2 * k * k}) >> windows(1)\n"
        "  return x >> window(3, attention(2, v=id, logits=a, scale=1, proj=id), stride=2)",
        grid,
    )
    x = torch.randn(2, 8, *grid)
    flat = x if len(grid) == 2 else x.unsqueeze(2)
    size = {"kernel_size": (3, 3) if len(grid) == 2 else (1, 3), "stride": (2, 2), "padding": (len(grid) - 1, 1)}
    step = (2, 2) if len(grid) == 2 else (1, 2)
    pooled = nn.functional.avg_pool2d(flat, step, step, ceil_mode=True)
    logits = model.a.linear(pooled.flatten(2).mT).unflatten(-1, (2, k, k))
    size["stride"] = step
    unfolded = nn.functional.unfold(flat, **size).unflatten(1, (2, 4, k))  # b, heads, d, k, windows
    mixed = torch.einsum("bwhij,bhdjw->bhdiw", logits.softmax(-1), unfolded).flatten(1, 3)
    expected = nn.functional.fold(mixed, flat.shape[2:], **size)
    torch.testing.assert_close(model(x).movedim(-1, 1).reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("attention(2, feature=relu, pos=relative_bias)", "`pos=` beside `feature=`", "leave out `pos=`"),
        ("attention(2, feature=relu, drop=0.1)", "`drop=` beside `feature=`", "leave out `drop=`"),
        ("attention(2, feature=relu, scale=2.0)", "`scale=` beside `feature=`", "leave out `scale=`"),
        ("attention(2, over=near(3), feature=relu)", "`feature=` where keys are left out", "it is for all keys"),
        ("window(3, attention(2, feature=relu), shift=1)", "`feature=` where keys are left out", "it is for all keys"),
        ("attention(2, logits=linear(9))", "`logits=` gives", "72 channels of each of 36 queries, or 2592 of one token"),
        ("attention(2, q=id, logits=linear(72))", "`q=` beside `logits=`", "leave out `q=`"),
        ("attention(2, scale=linear(1), logits=linear(72))", "a module as `scale=`", "give a number"),
        ("attention(2, over=routed(1, 3), logits=linear(72))", "`logits=` where keys are left out", "they are for all keys"),
        ("attention(3, v=id, logits=linear(108))", "3 heads do not divide 8 channels", "choose another number"),
        ("window(3, id, shift=1, stride=2)", "are not shifted or fitted", "leave out `shift=`"),
        ("window(3, conv(4, 3, stride=2), stride=2)", "windows of 3x3 come back", "keeps its extents"),
        ("attention(2, feature=conv(4, 3, stride=2))", "`feature=` makes", "it must keep the extents"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        build(model, (6, 6))
    assert message in str(caught.value)
    assert hint in str(caught.value)
