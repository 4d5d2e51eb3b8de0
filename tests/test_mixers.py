"""The six token mixers of the standard library, swapped into one small network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.language.load import load_text
from metablock.language.spec import Spec
from oracles import check_gradients

pytestmark = pytest.mark.usefixtures("float64")

# What each has as parameters, by their names below `token`.
NAMES: dict[str, list[str]] = {
    "attention(dim // 32)": ["qkv.weight", "qkv.bias", "proj.weight", "proj.bias"],
    "pool(3)": [],
    "dw(7)": ["weight", "bias"],
    "dynamic_conv(7)": ["by.linear1.weight", "by.linear2.weight", "by.linear2.bias", "kernels.weight"],
    "hilo(dim // 32)": [
        "hifi.attention.qkv.weight", "hifi.attention.qkv.bias", "hifi.attention.proj.weight", "hifi.attention.proj.bias",
        "lofi.q.weight", "lofi.q.bias", "lofi.kv.weight", "lofi.kv.bias", "lofi.proj.weight", "lofi.proj.bias",
    ],
    "agent_attention(dim // 32)": [
        "qkv.linear.weight", "qkv.linear.bias",
        "aggregate.pos.table.weight", "aggregate.pos.table.axes.0", "aggregate.pos.table.axes.1",
        "broadcast.pos.table.weight", "broadcast.pos.table.axes.0", "broadcast.pos.table.axes.1",
        "dw.weight", "dw.bias", "linear.weight", "linear.bias",
    ],
}  # fmt: skip
MIXERS = list(NAMES)
mixers = pytest.mark.parametrize("token", MIXERS)

MADE = """
name: made
input: image(3, 14, 10)
classes: 5
let:
  token: {token}
  norm: layer_norm
  block: res(norm >> token) >> res(norm >> mlp)
  shrink: conv(dim, 3, stride=2)
stem: conv(dim[0], 2, stride=2)
stages:
  depth: [1, 1]
  dim: [32, 64]
  down: [id, shrink]
  body: depth * block
head: norm >> global_pool >> linear(classes)
"""
WITH_CLASS = ["stem = conv(dim[0], 2, stride=2) >> class_token", "head = norm >> take(0) >> linear(classes)"]


def made(token: str) -> Spec:
    return load_text(MADE.format(token=token), "made.yaml")


def parts(token: str, *, edits: list[str] | None = None, input: tuple[int, ...] = (3, 14, 10)) -> nn.Module:
    """The mixer of a single stage of width 64, without anything around it."""
    one = ["depth = [1]", "dim = [64]", "down = [id]", *(edits or [])]
    return metablock.build(made(token), edits=one, input=input).double().stages[0].blocks[0].token


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    """Attention by its formula, on ``(b, n, c)``."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias
    return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


@mixers
@pytest.mark.parametrize("input", [(3, 22), (3, 14, 10), (3, 16, 16), (2, 14, 12, 10)], ids=str)
def test_every_rank(token: str, input: tuple[int, ...]) -> None:
    """One, two and three dimensions; even maps and odd ones (11, 7 by 5, 7 by 6 by 5), below and above seven."""
    model = metablock.build(made(token), input=input).double().train()
    y = model(torch.randn(2, *input))
    assert y.shape == (2, 5)
    y.square().sum().backward()
    assert y.isfinite().all()
    check_gradients(model)


@mixers
def test_names(token: str) -> None:
    """They are in people's checkpoints: changing one breaks them."""
    state = metablock.build(made(token), device="meta").state_dict()
    for stage in (0, 1):
        start = f"stages.{stage}.blocks.0.token."
        expected = list(NAMES[token])
        if token.startswith("hilo") and stage == 0:  # one head: it is high
            expected = [name for name in expected if not name.startswith("lofi")]
        assert [name.removeprefix(start) for name in state if name.startswith(start)] == expected


@mixers
def test_swapped_from_outside(token: str) -> None:
    """A mixer that was swapped in is the one that was written in; all other weights stay as they were."""
    written = metablock.build(made(token)).state_dict()
    swapped = metablock.build(made("pool(3)"), edits=[f"token = {token}"]).state_dict()
    assert list(swapped) == list(written)
    assert all(torch.equal(swapped[name], written[name]) for name in written)


# HiLo


def hilo(token: nn.Module, x: Tensor, high: int, low: int, size: int = 2) -> Tensor:
    """HiLo on ``(b, h, w, c)``, window by window; what is missing of a window is zeros, which no mean counts."""
    h, w = x.shape[1:3]
    pieces = []
    if high:
        padded = F.pad(x, (0, 0, 0, -w % size, 0, -h % size))
        out = torch.zeros(*padded.shape[:3], x.shape[3] * high // (high + low))
        for i in range(0, h, size):
            for j in range(0, w, size):
                qkv = token.hifi.attention.qkv(padded[:, i : i + size, j : j + size].flatten(1, 2))
                local = token.hifi.attention.proj(attend(*qkv.chunk(3, -1), high))
                out[:, i : i + size, j : j + size] = local.unflatten(1, (size, size))
        pieces.append(out[:, :h, :w])
    if low:
        means = [x[:, i : i + size, j : j + size].mean((1, 2)) for i in range(0, h, size) for j in range(0, w, size)]
        k, v = token.lofi.kv(torch.stack(means, 1)).chunk(2, -1)
        pieces.append(token.lofi.proj(attend(token.lofi.q(x.flatten(1, 2)), k, v, low)).unflatten(1, (h, w)))
    return torch.cat(pieces, -1)


@pytest.mark.parametrize(
    ("token", "high", "low"),
    [
        ("hilo(8)", 1, 7),  # 0.9 of 8 is 7.2
        ("hilo(2)", 1, 1),
        ("hilo(1)", 1, 0),  # 0.9 of 1 is none: Hi-Fi alone
        ("hilo(1, alpha=1)", 0, 1),
        ("hilo(4, alpha=0)", 4, 0),
        ("hilo(4, alpha=0.5)", 2, 2),
    ],
)
@pytest.mark.parametrize("input", [(3, 12, 16), (3, 14, 10)], ids=str)
def test_hilo_formula(token: str, high: int, low: int, input: tuple[int, ...]) -> None:
    module = parts(token, input=input)
    x = torch.randn(2, input[1] // 2, input[2] // 2, 64)
    assert hasattr(module, "hifi") == (high > 0)
    assert hasattr(module, "lofi") == (low > 0)
    torch.testing.assert_close(module(x), hilo(module, x, high, low))


def test_hilo_of_windows_of_one_is_attention() -> None:
    module = parts("hilo(4, size=1)")
    x = torch.randn(2, 7, 5, 64)
    k, v = module.lofi.kv(x.flatten(1, 2)).chunk(2, -1)
    expected = module.lofi.proj(attend(module.lofi.q(x.flatten(1, 2)), k, v, 4)).unflatten(1, (7, 5))
    torch.testing.assert_close(module(x), expected)


# Agent attention


def agent_attention(token: nn.Module, x: Tensor, grid: tuple[int, int], heads: int, agents: int) -> Tensor:
    """Agent attention on ``(b, prefix + n, c)``."""
    b, n, c = x.shape
    prefix = n - grid[0] * grid[1]

    def image(t: Tensor) -> Tensor:
        return t[:, prefix:].transpose(1, 2).reshape(b, c, *grid)

    q, k, v = token.qkv.linear(x).chunk(3, -1)
    a = F.adaptive_avg_pool2d(image(q), agents).flatten(2).transpose(1, 2)
    keys, queries = token.aggregate.pos.table, token.broadcast.pos.table
    to_keys = F.interpolate(keys.weight, grid, mode="bilinear") + keys.axes[0][0] + keys.axes[1][0]
    to_keys = to_keys.flatten(2)
    to_queries = F.interpolate(queries.weight, grid, mode="bilinear").permute(0, 2, 3, 1)
    to_queries = (to_queries + queries.axes[0][0] + queries.axes[1][0]).flatten(1, 2)
    if prefix:
        to_keys = torch.cat([keys.prefix[0], to_keys], 2)
        to_queries = torch.cat([queries.prefix[0], to_queries], 1)
    out = attend(q, a, attend(a, k, v, heads, to_keys), heads, to_queries)
    near = F.conv2d(image(v), token.dw.weight, token.dw.bias, padding=1, groups=c).flatten(2).transpose(1, 2)
    return token.linear(torch.cat([out[:, :prefix], out[:, prefix:] + near], 1))


@pytest.mark.parametrize(("token", "agents"), [("agent_attention(2)", 7), ("agent_attention(4, agents=3, table=5)", 3)])
@pytest.mark.parametrize("prefix", [0, 1])
def test_agent_attention_formula(token: str, agents: int, prefix: int) -> None:
    """Seven agents an axis on a map of 7 by 5: the pool repeats columns."""
    module = parts(token, edits=WITH_CLASS if prefix else [])
    for parameter in module.parameters():  # biases of 0.02 would hide which is which
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, prefix + 35, 64)
    found = module(x if prefix else x.unflatten(1, (7, 5)))
    heads = int(token[len("agent_attention(")])
    torch.testing.assert_close(found.reshape(2, -1, 64), agent_attention(module, x, (7, 5), heads, agents))


# Tokens with a class token


@pytest.mark.parametrize("token", ["attention(dim // 32)", "agent_attention(dim // 32)"])
def test_class_token_takes_part(token: str) -> None:
    model = metablock.build(made(token), edits=[*WITH_CLASS, "dim = [32, 32]", "down = id"]).double()
    x = torch.randn(2, 3, 14, 10, requires_grad=True)
    y = model(x)
    assert y.shape == (2, 5)
    y.square().sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum((1, 2, 3)) > 0).all()  # only the mixer leads from patches to the class token


@pytest.mark.parametrize("token", ["pool(3)", "dw(7)", "dynamic_conv(7)", "hilo(dim // 32)", "hilo(1, alpha=1)"])
def test_class_token_has_no_place_on_a_map(token: str) -> None:
    """The error points to where the mixer is used, and says what to write; that works."""
    edits = [*WITH_CLASS, "dim = [32, 32]", "down = id"]
    with pytest.raises(metablock.SpecError) as caught:
        metablock.build(made(token), edits=edits)
    line = next(i for i, text in enumerate(MADE.splitlines(), 1) if "token:" in text)
    assert {problem.message for problem in caught.value.problems} == {"1 prefix token(s) have no place on a map"}
    for problem in caught.value.problems:
        assert problem.span is not None
        assert (problem.span.text.name, problem.span.text.place(problem.span.start)) == ("made.yaml", (line, 10))
        assert "join(prefix, patches >> ...)" in str(problem.hint)
    model = metablock.build(made(token), edits=[*edits, f"token = join(prefix, patches >> {token})"]).double()
    assert model(torch.randn(2, 3, 14, 10)).shape == (2, 5)
