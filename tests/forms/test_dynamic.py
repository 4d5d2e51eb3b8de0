"""Convolutions with a kernel for each image, as the language writes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from metablock.errors import SpecError
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}


def build(model: str, c: int, *grid: int, let: str = "") -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (c, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\n{let}model: {model}\n")).eval()


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("grid", [(11,), (6, 9), (4, 5, 6)])
def test_a_token_mixer_is_depthwise(grid: tuple[int, ...]) -> None:
    module = build("dynamic_conv(5) >> id", 8, *grid)
    assert shapes(module) == {
        "dynamic_conv.by.linear1.weight": (3, 8),
        "dynamic_conv.by.linear2.weight": (4, 3),
        "dynamic_conv.by.linear2.bias": (4,),
        "dynamic_conv.kernels.weight": (4, 8, 1, *[5] * len(grid)),
    }
    assert module(torch.randn(2, 8, *grid)).shape == (2, 8, *grid)


def test_the_paper_s_formula() -> None:
    """pi = softmax(W2 relu(W1 mean(x)) + b); the kernel is sum pi_k W_k, for each image."""
    module = build("dynamic_conv(3, 6, stride=2, groups=2, experts=3) >> id", 4, 8, 6).dynamic_conv
    x = torch.randn(2, 4, 8, 6)
    pi = module.by.linear2(torch.relu(module.by.linear1(x.mean((2, 3))))).softmax(-1)
    for image, weights, result in zip(x, pi, module(x), strict=True):
        kernel = torch.einsum("e,eocij->ocij", weights, module.kernels.weight)
        expected = nn.functional.conv2d(image[None], kernel, stride=2, padding=1, groups=2)[0]
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(("c", "hidden"), [(3, 4), (1, 1), (4, 2), (7, 2), (64, 17)])
def test_the_hidden_width(c: int, hidden: int) -> None:
    """A quarter and one more; of a colour image as many as there are kernels."""
    assert shapes(build("dynamic_conv(3) >> id", c, 8, 8))["dynamic_conv.by.linear1.weight"] == (hidden, c)


def test_there_are_as_many_kernels_as_weights() -> None:
    """CondConv (arXiv 1904.04971): a sigmoid, and another number of kernels."""
    module = build("mixture_conv(6, 3, by=global_pool >> linear(5) >> sigmoid) >> id", 4, 8, 8)
    assert shapes(module)["mixture_conv.kernels.weight"] == (5, 6, 4, 3, 3)
    module = build("mixture_conv(6) >> id", 4, 8, 8)  # the paper's attention, if nothing is said
    assert shapes(module)["mixture_conv.kernels.weight"] == (4, 6, 4, 1, 1)
    let = "let:\n  kernel_attention(experts=4, temperature=1): global_pool >> linear(experts)\n"
    assert shapes(build("dynamic_conv(3) >> id", 4, 8, 8, let=let))["dynamic_conv.by.linear.weight"] == (4, 4)


def test_a_route_that_is_no_vector() -> None:
    with pytest.raises(SpecError, match=r"`by` gives a map 4 x 8x8(.|\n)*global_pool >> linear"):
        build("mixture_conv(6, by=conv(4)) >> id", 4, 8, 8)
    with pytest.raises(SpecError, match=r"<spec>:3:\d+: (.|\n)*by"):
        build("mixture_conv(6, by=none) >> id", 4, 8, 8)
    with pytest.raises(SpecError, match="3 groups do not divide"):
        build("dynamic_conv(3, groups=3) >> id", 4, 8, 8)


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 2)])
def test_flatten(grid: tuple[int, ...]) -> None:
    x = torch.randn(2, 4, *grid)
    torch.testing.assert_close(build("flatten", 4, *grid)(x), x.flatten(1))
    tokens = build("layer_norm >> flatten", 4, *grid)  # from channels last: still channel by channel
    torch.testing.assert_close(tokens(x), nn.functional.layer_norm(x.movedim(1, -1), (4,)).movedim(-1, 1).flatten(1))
    assert build("global_pool >> flatten", 4, *grid)(x).shape == (2, 4)
    size = torch.Size(grid).numel()
    assert build("flatten >> linear(3)", 4, *grid).linear.weight.shape == (3, 4 * size)
