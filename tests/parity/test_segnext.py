"""SegNeXt. timm does not have it: the recorded output of the official code (tests/test_papers.py) is the backbone's oracle; the
decoder, whose answers there are random, is held to its formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, gelu, group_norm, interpolate, normalize, relu

import metablock
from metablock.operators.nmf import NMF
from metablock.weights.export_names import export_state
from oracles import check_gradients, randomised_state, relative_error

BACKBONE = ["depth = [1, 1, 2, 1]", "dim = [16, 32, 64, 128]"]
SMALL = [*BACKBONE, "ham = 64", "bases = 3"]


def factorised(x: Tensor, bases: Tensor, steps: int) -> Tensor:
    """The official order of the updates, on columns: ``x (b, d, n)``, ``bases (b, d, r)``."""
    coef = (x.mT @ bases).softmax(-1)
    for step in range(steps + 1):
        coef = coef * (x.mT @ bases) / (coef @ (bases.mT @ bases) + 1e-6)
        if step < steps:
            bases = bases * (x @ coef) / (bases @ (coef.mT @ coef) + 1e-6)
    return bases @ coef.mT


def network(size: tuple[int, int] = (64, 96)) -> torch.nn.Module:
    model = metablock.build("segnext", variant="segnext_t", edits=SMALL, input=(3, *size), classes=7, dtype=torch.float64)
    randomised_state(model)
    return model.eval()


def test_convolutional_attention() -> None:
    """Strips run across first; the inner residual starts from the normed input."""
    block = metablock.build("segnext", edits=BACKBONE, input=(3, 64, 96), dtype=torch.float64).eval().stages[1].blocks[0]
    randomised_state(block)
    x = torch.randn(2, 32, 9, 12, dtype=torch.float64)
    token, scales = block.token, block.token.msca.scales
    with torch.no_grad():
        u = gelu(token.pw1(x))
        a = conv2d(u, scales.dw.weight, scales.dw.bias, padding=2, groups=32)
        total = a.clone()
        for i, k in enumerate((7, 11, 21)):
            strip = getattr(scales, f"strip{i + 1}")
            assert (strip.dw1.kernel_size, strip.dw2.kernel_size) == ((1, k), (k, 1))
            across = conv2d(a, strip.dw1.weight, strip.dw1.bias, padding=(0, k // 2), groups=32)
            total += conv2d(across, strip.dw2.weight, strip.dw2.bias, padding=(k // 2, 0), groups=32)
        assert relative_error(token(x), x + token.pw2(u * token.msca.pw(total))) < 1e-9


@pytest.mark.parametrize("size", [(64, 96), (72, 40)])
def test_decoder(size: tuple[int, int]) -> None:
    """The last three stages, on any size: an odd map is not an integer factor smaller than the one before."""
    model = network()
    maps: list[Tensor] = []
    for stage in model.stages:
        stage.end.register_forward_hook(lambda _module, _arguments, output: maps.append(output.movedim(-1, 1)))
    head = model.head
    bases = normalize(torch.rand(head.hamburger.nmf.start.shape, dtype=torch.float64), dim=-1)
    with torch.no_grad():
        head.hamburger.nmf.start.copy_(bases)
        output = model(torch.randn(2, 3, *size, dtype=torch.float64))
        grid = maps[1].shape[2:]
        x = torch.cat([interpolate(y, grid, mode="bilinear") for y in maps[1:]], 1)
        unit, ham = head.unit1, head.hamburger
        x = relu(group_norm(conv2d(x, unit.conv.weight), 32, unit.norm.weight, unit.norm.bias))
        y = relu(ham.pw(x)).flatten(2)
        y = factorised(y, bases.mT.expand(2, -1, -1), 7).unflatten(-1, grid)
        x = relu(x + ham.norm(ham.conv(y)))
        x = head.pw(relu(head.unit2.norm(head.unit2.conv(x))))
        assert output.shape == (2, 7, *size)
        assert relative_error(output, interpolate(x, size, mode="bilinear")) < 1e-9


def test_factorisation_in_training() -> None:
    """One step less, other bases each time; gradients are those of the formula."""
    nmf, x = NMF(8, bases=3).double(), torch.rand(2, 4, 5, 8, dtype=torch.float64)
    leaf, again = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.manual_seed(3)
    first, second = nmf(leaf), nmf(x)
    assert relative_error(first, second) > 1e-3
    assert torch.equal(nmf.eval()(x), nmf(x))
    torch.manual_seed(3)
    bases = normalize(torch.rand(2, 3, 8, dtype=torch.float64), dim=-1).mT
    expected = factorised(again.flatten(1, 2).mT, bases, 6).mT.reshape(x.shape)
    assert relative_error(first, expected) < 1e-9
    weights = torch.randn_like(x)
    (first * weights).sum().backward()
    (expected * weights).sum().backward()
    assert relative_error(leaf.grad, again.grad) < 1e-9


def test_official_names_of_the_decoder() -> None:
    model = metablock.build("segnext", variant="segnext_t", edits=SMALL)
    names = set(export_state(model, metablock.resolved("segnext", variant="segnext_t"), "official"))
    parts = ["squeeze", "hamburger.ham_in", "hamburger.ham_out", "align"]
    expected = {f"decode_head.{part}.conv.weight" for part in parts} | {"decode_head.hamburger.ham_in.conv.bias"}
    expected |= {f"decode_head.{part}.gn.{kind}" for part in parts if part != "hamburger.ham_in" for kind in ("weight", "bias")}
    expected |= {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}
    assert {name for name in names if not name.startswith("backbone.")} == expected


def test_initial_values() -> None:
    """As mmcv's: the last convolution starts small, convolutions by their fan-out, layer scale at 0.01."""
    model = metablock.build("segnext", variant="segnext_t", edits=SMALL)
    assert 0.009 < model.head.pw.weight.std() < 0.011
    assert 0.9 < model.head.unit2.conv.weight.std() / (2 / 64) ** 0.5 < 1.1
    block = model.stages[3].blocks[0]
    assert 0.9 < block.channel.dw.weight.std() / (2 / 9) ** 0.5 < 1.1
    assert (block.scale1.weight == 0.01).all()


def test_training_step() -> None:
    """Whole channels are dropped before the last convolution."""
    model = metablock.build("segnext", variant="segnext_t", edits=SMALL, input=(3, 64, 96), classes=7).train()
    randomised_state(model)
    seen: list[Tensor] = []
    model.head.channel_dropout.register_forward_hook(lambda _module, _arguments, output: seen.append(output))
    cross_entropy(model(torch.randn(4, 3, 64, 96)), torch.randint(7, (4, 64, 96))).backward()
    check_gradients(model, moved=True)
    still = (seen[0] == 0).flatten(2).all(-1)
    assert 0.02 < still.float().mean() < 0.3
