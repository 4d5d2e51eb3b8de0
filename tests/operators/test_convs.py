"""Convolutions against torch's, or against their definition written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from leaves import build, feature, inputs
from oracles import randomised_state

pytestmark = pytest.mark.usefixtures("float64")
GRIDS = [(11,), (6, 9), (4, 5, 6)]
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
conv: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


def macs(module: nn.Module, *x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        module(*x)
    return counter.get_total_flops() // 2


@grids
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"kernel": 3}, {"kernel_size": 3, "padding": 1}),
        ({"kernel": 7, "stride": 4}, {"kernel_size": 7, "stride": 4, "padding": 2}),
        ({"kernel": 3, "stride": 2, "dilation": 2}, {"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 2}),
        ({"kernel": 2, "stride": 2, "groups": 2}, {"kernel_size": 2, "stride": 2, "groups": 2}),
        ({"kernel": 3, "padding": 0, "bias": False}, {"kernel_size": 3, "bias": False}),
    ],
)
def test_conv(grid: tuple[int, ...], ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    x = feature("map", 6, *grid)
    module, reference = build("conv.Conv", x, out=4, **ours), CONVS[len(grid)](6, 4, **theirs)
    reference.load_state_dict(randomised_state(module))
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), reference(tensor))


def test_same_padding_puts_the_odd_zero_at_the_end() -> None:
    x = feature("map", 2, 5, 6)
    module = build("conv.Conv", x, out=3, kernel=[2, 3], stride=[1, 2], padding="same", bias=False)
    (tensor,) = inputs(x)
    expected = F.conv2d(F.pad(tensor, (0, 1, 0, 1)), module.weight, stride=(1, 2))
    torch.testing.assert_close(module(tensor), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    x = feature("grid", 6, 3, 4)
    module, reference = build("linear.Linear", x, out=4, bias=bias), nn.Linear(6, 4, bias=bias)
    reference.load_state_dict(randomised_state(module))
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), reference(tensor))


@grids
def test_std_conv(grid: tuple[int, ...]) -> None:
    x = feature("map", 6, *grid)
    module = build("std_conv.StdConv", x, out=4, kernel=3, padding=None, groups=2, eps=1e-3)
    randomised_state(module)
    flat = module.weight.flatten(1)
    var = (flat - flat.mean(1, keepdim=True)).square().mean(1, keepdim=True)
    weight = ((flat - flat.mean(1, keepdim=True)) / torch.sqrt(var + 1e-3)).view_as(module.weight)
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), conv[len(grid)](tensor, weight, padding=1, groups=2))


def test_std_conv_stem_of_a_hybrid_vit() -> None:
    """224 to 112, two zeros before and three after (vit.md)."""
    x = feature("map", 3, 14, 14)
    module = build("std_conv.StdConv", x, out=2, kernel=7, stride=2)
    assert module.bias is None
    (tensor,) = inputs(x, batch=1)
    flat = module.weight.flatten(1)
    weight = ((flat - flat.mean(1, keepdim=True)) / (flat.var(1, keepdim=True, unbiased=False) + 1e-8).sqrt()).view_as(
        module.weight
    )
    torch.testing.assert_close(module(tensor), F.conv2d(F.pad(tensor, (2, 3, 2, 3)), weight, stride=2))


@grids
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"kernel": 2, "stride": 2}, {"kernel_size": 2, "stride": 2}),
        ({"kernel": 4, "stride": 2}, {"kernel_size": 4, "stride": 2, "padding": 1}),
        ({"kernel": 3, "stride": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}),
        ({"kernel": 3, "stride": 1}, {"kernel_size": 3, "stride": 1, "padding": 1}),
        ({"kernel": 2, "stride": 3, "bias": False}, {"kernel_size": 2, "stride": 3, "output_padding": 1, "bias": False}),
        ({"kernel": 5, "stride": 2, "padding": 1, "groups": 2}, {"kernel_size": 5, "stride": 2, "padding": 1, "groups": 2}),
    ],
)
def test_conv_transpose(grid: tuple[int, ...], ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    x = feature("map", 6, *grid)
    module, reference = build("conv_transpose.ConvTranspose", x, out=4, **ours), TRANSPOSED[len(grid)](6, 4, **theirs)
    reference.load_state_dict(randomised_state(module))
    (tensor,) = inputs(x)
    result = module(tensor)
    torch.testing.assert_close(result, reference(tensor))
    if "padding" not in ours:
        assert result.shape[2:] == tuple(g * ours["stride"] for g in grid)


@grids
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_mixture_conv_mixes_kernels(grid: tuple[int, ...], batch: int, bias: bool) -> None:
    x, route = feature("map", 6, *grid), feature("vector", 3)
    module = build("mixture_conv.MixtureConv", x, route, out=4, kernel=3, stride=2, groups=2, bias=bias, experts=3)
    randomised_state(module)
    tensor, share = inputs(x, route, batch=batch)
    result = module(tensor, share)
    for sample in range(batch):
        weight = sum(share[sample, e] * module.weight[e] for e in range(3))
        constant = sum(share[sample, e] * module.bias[e] for e in range(3)) if bias else None
        expected = conv[len(grid)](tensor[sample : sample + 1], weight, constant, 2, 1, 1, 2)
        torch.testing.assert_close(result[sample : sample + 1], expected)


def test_mixture_conv_counts_and_init() -> None:
    x, route = feature("map", 6, 8, 6), feature("vector", 4)
    module = build("mixture_conv.MixtureConv", x, route, out=10, kernel=3, bias=True)
    size = 10 * 6 * 9
    assert macs(module, *inputs(x, route, batch=2)) == 2 * (4 * size + 4 * 10 + size * 8 * 6)
    bound = math.sqrt(6 / (6 * 9))
    assert module.weight.abs().amax() <= bound
    assert all(expert.abs().amax() > 0.9 * bound for expert in module.weight)
    assert not module.bias.any()


def deformed(module: nn.Module, x: Tensor, offset: Tensor) -> Tensor:
    """The definition, one number at a time."""
    b, c, h, w = x.shape
    (kh, kw), (sy, sx), (py, px) = module.kernel, module.stride, module.padding
    oh, ow = offset.shape[2:]
    taps = torch.zeros(b, c, kh * kw, oh, ow)

    def pixel(sample: int, i: int, j: int) -> Tensor:
        return x[sample, :, i, j] if 0 <= i < h and 0 <= j < w else torch.zeros(c)

    for sample in range(b):
        for k in range(kh * kw):
            for p in range(oh):
                for q in range(ow):
                    y = p * sy - py + k // kw + float(offset[sample, 2 * k, p, q])
                    z = q * sx - px + k % kw + float(offset[sample, 2 * k + 1, p, q])
                    if not (-1 < y < h and -1 < z < w):
                        continue
                    i, j = math.floor(y), math.floor(z)
                    for di, share_i in ((0, 1 - y + i), (1, y - i)):
                        for dj, share_j in ((0, 1 - z + j), (1, z - j)):
                            taps[sample, :, k, p, q] += share_i * share_j * pixel(sample, i + di, j + dj)
    return torch.einsum("ock,bckpq->bopq", module.weight.flatten(2), taps) + module.bias.view(1, -1, 1, 1)


@pytest.mark.parametrize(
    "arguments",
    [{"kernel": 2, "stride": 2}, {"kernel": 3, "padding": 1}, {"kernel": [1, 3], "stride": [2, 1], "padding": [0, 2]}],
    ids=str,
)
def test_deform_conv(arguments: dict[str, Any]) -> None:
    x = feature("map", 3, 4, 7)
    module = build("deform_conv.DeformConv", x, out=5, **arguments)
    (tensor,) = inputs(x)
    randomised_state(module)
    nn.init.normal_(module.offset.weight, std=0.6)  # some offsets leave the map
    offset = module.offset(tensor).detach()
    assert offset.abs().max() > 3
    torch.testing.assert_close(module(tensor).detach(), deformed(module, tensor, offset).detach())


def test_deform_conv_starts_as_a_convolution() -> None:
    x = feature("map", 3, 6, 8)
    module = build("deform_conv.DeformConv", x, out=5, kernel=3, stride=2, padding=1)
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), F.conv2d(tensor, module.weight, module.bias, 2, 1))


def test_deform_conv_gradients() -> None:
    """By finite differences: of the map, of the weights, and of the offsets (through the convolution that makes them)."""
    x = feature("map", 2, 4, 5)
    module = build("deform_conv.DeformConv", x, out=2, kernel=2, stride=2)
    randomised_state(module)
    parameters = dict(module.named_parameters())

    def run(tensor: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (tensor,))

    arguments = [t.detach().requires_grad_() for t in (*inputs(x, batch=1), *parameters.values())]
    assert torch.autograd.gradcheck(run, arguments, fast_mode=True)


def test_deform_conv_at_whole_offsets() -> None:
    """A place exactly on -1 does not count and gets no gradient; inside, the slope at a pixel is the one to the next."""
    x = feature("map", 1, 3, 3)
    module = build("deform_conv.DeformConv", x, out=1, kernel=1, padding=1)
    tensor, offset = torch.arange(9.0).view(1, 1, 3, 3).square(), torch.zeros(1, 2, 5, 5, requires_grad=True)
    module.sample(tensor, offset).sum().backward()
    slope = offset.grad[0]
    assert not slope[:, 0].any()
    assert not slope[:, :, 0].any()
    torch.testing.assert_close(slope[0, 1:4, 1:4], F.pad(tensor[0, 0], (0, 0, 0, 1)).diff(dim=0))
    torch.testing.assert_close(slope[1, 1:4, 1:4], F.pad(tensor[0, 0], (0, 1)).diff(dim=1))


def test_deform_conv_survives_any_offset() -> None:
    x = feature("map", 2, 4, 4)
    module = build("deform_conv.DeformConv", x, out=3, kernel=2, stride=2)
    nn.init.constant_(module.offset.bias, 1e30)
    torch.testing.assert_close(module(*inputs(x)), module.bias.view(1, 3, 1, 1).expand(2, 3, 2, 2))


def test_deform_conv_counts() -> None:
    x = feature("map", 3, 6, 8)
    module = build("deform_conv.DeformConv", x, out=5, kernel=2, stride=2)
    assert macs(module, *inputs(x, batch=1)) == (8 + 5) * 3 * 4 * 3 * 4
