"""Operators against timm's layers, with the same weights."""

from __future__ import annotations

import pytest
import torch

from leaves import build, feature, find, inputs
from oracles import randomised_state, require

timm = require("timm")
layers = timm.layers
pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
def test_std_conv(kernel: int, stride: int) -> None:
    x = feature("map", 6, 14, 9)
    module = build("std_conv.StdConv", x, out=4, kernel=kernel, stride=stride)
    reference = layers.StdConv2dSame(6, 4, kernel, stride, eps=1e-8)
    reference.load_state_dict(randomised_state(module))
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), reference(tensor))


def test_max_pool_same() -> None:
    x = feature("map", 6, 14, 9)
    reference = layers.create_pool2d("max", kernel_size=3, stride=2, padding="same")
    (tensor,) = inputs(x)
    torch.testing.assert_close(build("max_pool.MaxPool", x, kernel=3, stride=2, padding="same")(tensor), reference(tensor))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (4, 3), (3, 1)])
def test_avg_pool_same(kernel: int, stride: int) -> None:
    """timm's zeros count in the mean, whatever its `count_include_pad` says."""
    x = feature("map", 6, 14, 9)
    reference = layers.create_pool2d("avg", kernel_size=kernel, stride=stride, padding="same")
    (tensor,) = inputs(x)
    module = build("avg_pool.AvgPool", x, kernel=kernel, stride=stride, padding="same")
    torch.testing.assert_close(module(tensor), reference(tensor))


def test_grn() -> None:
    x = feature("grid", 6, 5, 4)
    module, reference = build("grn.GRN", x), layers.grn.GlobalResponseNorm(6, channels_last=True)
    reference.load_state_dict(randomised_state(module))
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), reference(tensor))


def test_star_relu() -> None:
    x = feature("grid", 6, 5, 4)
    module, reference = build("activations.StarRelu", x), timm.models.metaformer.StarReLU()
    reference.load_state_dict(randomised_state(module))
    (tensor,) = inputs(x)
    torch.testing.assert_close(module(tensor), reference(tensor))


def test_relative_bias_is_swins() -> None:
    attention = timm.models.swin_transformer.WindowAttention(6, num_heads=3, window_size=(4, 5))
    module = find("relative_bias.RelativeBias")((4, 5), heads=3)
    module.weight.data = attention.relative_position_bias_table.data
    torch.testing.assert_close(module(), attention._get_rel_pos_bias()[0])


def test_unfold_is_swins() -> None:
    x = feature("grid", 6, 8, 4)
    reference = timm.models.swin_transformer.PatchMerging(6)
    reference.norm, reference.reduction = torch.nn.Identity(), torch.nn.Identity()
    (tensor,) = inputs(x)
    assert torch.equal(build("unfold.Unfold", x, kernel=2, stride=2, order="x y c")(tensor), reference(tensor))


def test_drop_path() -> None:
    x = feature("tokens", 6, 5, 4)
    (tensor,) = inputs(x, batch=200)
    ours, theirs = build("drop_path.DropPath", x, rate=0.25)(tensor), layers.DropPath(0.25)(tensor)
    assert set((ours / tensor).round(decimals=9).unique().tolist()) == set((theirs / tensor).round(decimals=9).unique().tolist())
