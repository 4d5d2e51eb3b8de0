"""Weights of neighbours that a module computes, a kernel for each place, against plain arithmetic."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.backend.costs import macs
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
GRIDS = [(7,), (5, 4), (3, 4, 3)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def build(model: str, grid: tuple[int, ...] = (7,), c: int = 8) -> nn.Module:
    """A network of one expression, all its weights random."""
    size = ", ".join(map(str, (c, *grid)))
    model = metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def neighbours(
    place: tuple[int, ...], grid: tuple[int, ...], size: int, border: str, dilation: int, side: str
) -> list[tuple[int, ...] | None]:
    """Where the neighbours of a place stand; None beyond the border."""
    axes = []
    for p, g in zip(place, grid, strict=True):
        start = p - dilation * (size // 2 if side == "both" else size - 1)
        if border == "clamp":
            start = min(max(start, 0), g - size)
        axes.append([start + dilation * i for i in range(size)])
    return [at if all(0 <= a < g for a, g in zip(at, grid, strict=True)) else None for at in itertools.product(*axes)]


def weighted(
    x: Tensor,
    logits: Tensor,
    size: int,
    border: str = "mask",
    dilation: int = 1,
    side: str = "both",
    norm: str = "softmax",
    stride: int = 1,
) -> Tensor:
    """Place by place, from ``logits (b, heads * K, *places)`` and ``x (b, c, *grid)``."""
    grid, rank = tuple(x.shape[2:]), x.dim() - 2
    t = x.unflatten(1, (2, -1))
    logits = logits.unflatten(1, (2, -1))
    places = [tuple(range(0, g, stride)) for g in grid]
    result = torch.empty(*x.shape[:2], *map(len, places))
    around = {at: neighbours(at, grid, size, border, dilation, side) for at in itertools.product(*map(range, grid))}
    reached = [any(around[at][tap] is not None for at in itertools.product(*places)) for tap in range(size**rank)]
    for place in itertools.product(*places):
        out, mine = tuple(p // stride for p in place), around[place]
        weights = logits[:, :, :, *out].clone()
        for tap, at in enumerate(mine):
            if (border == "mask" and at is None) or (border == "cut" and not reached[tap]):
                weights[:, :, tap] = -math.inf if norm == "softmax" else 0
        if norm == "softmax":
            weights = weights.softmax(-1)
        values = torch.stack([torch.zeros(t.shape[:3]) if at is None else t[:, :, :, *at] for at in mine], -1)
        result[:, :, *out] = (values * weights[:, :, None]).sum(-1).flatten(1)
    return result


def check(model: nn.Module, x: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(model(x).flatten(1, -2), expected.flatten(2).mT)


@grids
@pytest.mark.parametrize("norm", ["softmax", "none"])
@pytest.mark.parametrize(
    ("border", "dilation", "side"),
    [
        ("mask", 1, "both"),
        ("mask", 2, "past"),
        ("zeros", 1, "both"),
        ("zeros", 2, "past"),
        ("cut", 1, "both"),
        ("cut", 2, "past"),
        ("clamp", 1, "both"),
    ],
)
def test_weights_of_each_place(grid: tuple[int, ...], border: str, dilation: int, side: str, norm: str) -> None:
    k = 3 ** len(grid)
    over = f'near(3, border="{border}", dilation={dilation}, side="{side}")'
    model = build(f'id >> attention(2, v=id, proj=id, over={over}, norm="{norm}", logits=pw({2 * k}))', grid)
    x = torch.randn(2, 8, *grid)
    check(model, x, weighted(x, model.attention.logits(x), 3, border, dilation, side, norm))


@grids
@pytest.mark.parametrize(("border", "norm"), [("mask", "softmax"), ("zeros", "none"), ("cut", "softmax")])
def test_weights_of_all_places_alike(grid: tuple[int, ...], border: str, norm: str) -> None:
    """Learned ones, and a vector's; the weights of a convolution whose groups share their kernel."""
    k, x = 3 ** len(grid), torch.randn(2, 8, *grid)
    for source in (f"learned(1, {2 * k})", f"global_pool >> linear({2 * k})"):
        model = build(f'id >> attention(2, v=id, proj=id, over=near(3, border="{border}"), norm="{norm}", logits={source})', grid)
        part = model.attention.logits
        logits = part.weight.expand(2, 1, -1)[:, 0] if "learned" in source else part.linear(x.flatten(2).mean(2))
        spread = logits.view(2, -1, *[1] * len(grid)).expand(-1, -1, *grid)
        check(model, x, weighted(x, spread, 3, border, norm=norm))
        if norm == "none" and "learned" in source:
            kernel = part.weight.view(2, 1, *[3] * len(grid)).repeat_interleave(4, 0)
            convolved = (F.conv1d, F.conv2d, F.conv3d)[len(grid) - 1](x, kernel, padding=1, groups=8)
            torch.testing.assert_close(model(x).movedim(-1, 1).reshape(x.shape), convolved)


@pytest.mark.parametrize(("grid", "stride"), [((7,), 2), ((5, 4), 2), ((6, 7), 3)], ids=str)
@pytest.mark.parametrize("border", ["mask", "zeros", "clamp"])
def test_weights_of_every_second_place(grid: tuple[int, ...], stride: int, border: str) -> None:
    """The output stands on the grid of the weights."""
    k = 3 ** len(grid)
    logits = f"max_pool(1, stride={stride}) >> pw({2 * k})"
    model = build(f'id >> attention(2, v=id, proj=id, over=near(3, border="{border}"), logits={logits})', grid)
    x = torch.randn(2, 8, *grid)
    step = x[(..., *[slice(None, None, stride)] * len(grid))]
    conv = next(m for m in model.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d)))
    check(model, x, weighted(x, conv(step), 3, border, stride=stride))


def test_factor_and_dropout() -> None:
    """The factor is 1 where it is left out; dropout is on the weights, behind the softmax."""
    x, logits = torch.randn(2, 8, 7), "pw(6)"
    plain, one, two = (
        build(f"id >> attention(2, v=id, proj=id, over=near(3), logits={logits}{o})") for o in ("", ", scale=1", ", scale=2")
    )
    for model in (one, two):
        model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(plain(x), one(x))
    check(two, x, weighted(x, 2 * plain.attention.logits(x), 3))
    dropped = build("id >> attention(8, v=id, proj=id, over=near(1), logits=pw(8), drop=0.5)").train()
    assert set(dropped(torch.ones(20, 8, 7)).unique().tolist()) == {0.0, 2.0}


def test_projections() -> None:
    """By default values are projected, and what comes out; a source elsewhere gives the values."""
    model = build("x -> y = x >> conv(6, 3) return x >> attention(2, over=y >> near(3), value_dim=5, logits=linear(6))")
    x = torch.randn(2, 8, 7)
    conv, attention = next(m for m in model.modules() if isinstance(m, nn.Conv1d)), model.get_submodule("attention")
    values = attention.v(conv(x).mT).mT
    assert values.shape == (2, 10, 7)
    expected = weighted(values, attention.logits(x.mT).mT, 3)
    torch.testing.assert_close(model(x), attention.proj(expected.mT))


def test_weights_of_all_keys_without_a_softmax() -> None:
    model, x = build('id >> attention(2, v=id, logits=linear(14), norm="none", scale=3, proj=id)'), torch.randn(2, 8, 7)
    weights = 3 * model.attention.logits(x.mT).unflatten(-1, (2, 7)).transpose(1, 2)
    v = x.unflatten(1, (2, -1)).mT
    torch.testing.assert_close(model(x), (weights @ v).transpose(1, 2).flatten(2))


DYNAMIC = 'attention(2, over=near(5, side="{}", border="{}"), logits=linear(2 * 5, bias=false))'


@pytest.mark.parametrize(("side", "border"), [("past", "cut"), ("past", "mask"), ("both", "zeros"), ("both", "mask")])
def test_lengths(side: str, border: str) -> None:
    """Shorter than the neighbourhood and longer than declared; compiled, in other precisions, with gradients."""
    model = build(f"2 * res({DYNAMIC.format(side, border)})")
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True) if border == "mask" else model
    for n in (7, 3, 12):
        x = torch.randn(2, 8, n, requires_grad=True)
        torch.testing.assert_close(compiled(x), model(x))
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
            result, whole = model.to(dtype)(x.to(dtype)).double(), model.double()(x)
            assert (result - whole).norm() / whole.norm() < tolerance
    torch.autograd.gradcheck(model, torch.randn(1, 8, 3, requires_grad=True))
    if side == "past":
        x = torch.randn(1, 8, 9)
        torch.testing.assert_close(model(x[..., :6]), model(x)[..., :6])


@pytest.mark.parametrize("side", ["both", "past"])
def test_long_sequences(side: str) -> None:
    """Beyond 512 places by copies of the values instead of a band matrix."""
    model = build(f"id >> {DYNAMIC.format(side, 'zeros')}")
    x = torch.randn(1, 8, 515)
    torch.testing.assert_close(model(x)[:, :500], model(x[..., :502])[:, :500])


def test_counts() -> None:
    """A sequence is multiplied with a band matrix, as the official code counts it; of a map only the logits count."""
    line, plane = build("attention(2, v=id, proj=id, over=near(3), logits=linear(6))"), "logits=linear(18)"
    plane = build(f"attention(2, v=id, proj=id, over=near(3), {plane})", (5, 4))
    assert macs(line.to("meta"), torch.empty(1, 8, 7, device="meta"))[""] == 7 * 8 * 6 + 7 * 3 * 8
    assert macs(plane.to("meta"), torch.empty(1, 8, 5, 4, device="meta"))[""] == 20 * 8 * 18


def test_standalone(tmp_path: Path) -> None:
    grid = (5, 4)
    model = build(f"id >> {DYNAMIC.format('past', 'cut')} >> attention(2, over=past) >> grid(7)")
    other = build("attention(2, over=near(3), logits=linear(18))", grid)
    for name, net, x in (("line", model, torch.randn(2, 8, 7)), ("plane", other, torch.randn(2, 8, *grid))):
        metablock.write(net, tmp_path / f"{name}.py")
        module: dict[str, object] = {"__name__": name}
        exec((tmp_path / f"{name}.py").read_text(), module)
        written = module["Model"]()  # type: ignore[operator]
        written.load_state_dict(net.state_dict())
        torch.testing.assert_close(written.eval()(x), net(x))


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("attention(2, over=near(3), logits=linear(9))", "`logits=` gives tokens 7 x 9", "6 channels: one for each of 2 heads"),
        ("attention(2, over=near(3), logits=learned(5, 6))", "`logits=` gives", "of each place, or of one"),
        ("attention(2, over=[near(3), id], logits=linear(6))", "`logits=` where keys are left out", "neighbours: `over=near(3)`"),
        ("attention(2, over=near(3), q=id, logits=linear(6))", "`q=` beside `logits=`", "leave out `q=`"),
        ("class_token >> attention(2, over=patches >> near(3), logits=linear(6))", "`logits=` gives", "of each place"),
        ("attention(2, over=near(3), v=class_token >> linear(c), logits=linear(6))", "`near` needs values on one grid", "prefix"),
        ('window(3, attention(2, over=near(3), logits=linear(6)), shift=1, fit="pad")', "keys are left out", "of one"),
        ('attention(2, over=near(3), logits=linear(6), norm="sum")', 'unknown `norm="sum"`', '"softmax" or "none"'),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model)
    assert message in str(caught.value)
    assert hint in str(caught.value)
