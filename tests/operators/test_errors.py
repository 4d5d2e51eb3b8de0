"""What does not fit is said in words, before a tensor exists."""

from __future__ import annotations

from typing import Any

import pytest

from leaves import build, feature, shape
from metablock.errors import SpecError
from metablock.shape import Feature

LINE, MAP, CUBE = feature("map", 6, 9), feature("map", 6, 6, 8), feature("map", 6, 4, 4, 4)
TOKENS, VECTOR = feature("tokens", 6, 3, 4, prefix=1), feature("vector", 6)

# operator, inputs, arguments, words of the message, words of the hint
WRONG: list[tuple[str, tuple[Feature, ...], dict[str, Any], str, str]] = [
    ("conv.Conv", (MAP,), {"out": 4, "kernel": 9, "padding": 0}, "a window of 9x9 does not fit a grid of 6x8", ""),
    ("conv.Conv", (MAP,), {"out": 4, "kernel": [3, 3, 3]}, "3 numbers for 2 spatial dimensions", ""),
    ("conv.Conv", (MAP,), {"out": 4, "groups": 4}, "4 groups do not divide 6 channels in and 4 out", ""),
    ("conv.Conv", (MAP,), {"out": 4, "groups": 0}, "0 groups do not divide", ""),
    ("conv.Conv", (MAP,), {"out": 4, "padding": "valid"}, "unknown padding 'valid'", '"same"'),
    ("conv.Conv", (MAP,), {"out": 4, "padding": -1}, "padding is at least 0", ""),
    ("std_conv.StdConv", (MAP,), {"out": 4, "stride": 0}, "at least 1", ""),
    ("std_conv.StdConv", (MAP,), {"out": 4, "padding": "valid"}, "unknown padding 'valid'", '"same"'),
    ("conv_transpose.ConvTranspose", (MAP,), {"out": 4, "kernel": 2, "stride": 1}, "no centre", "give the padding"),
    ("conv_transpose.ConvTranspose", (MAP,), {"out": 4, "kernel": 2, "stride": 0}, "at least 1", ""),
    (
        "conv_transpose.ConvTranspose",
        (MAP,),
        {"out": 4, "kernel": 2, "stride": 2, "padding": 9},
        "padding of 9x9 does not fit",
        "",
    ),
    ("conv_transpose.ConvTranspose", (MAP,), {"out": 4, "kernel": 2, "stride": 2, "groups": 3}, "3 groups do not divide", ""),
    ("group_norm.GroupNorm", (MAP,), {"groups": 4}, "4 groups do not divide 6 channels", ""),
    ("activations.Gelu", (MAP,), {"approximate": "tahn"}, "unknown approximation 'tahn'", "did you mean 'tanh'?"),
    ("softmax.Softmax", (VECTOR,), {"temperature": 0.0}, "a temperature is above 0", ""),
    ("shuffle.Shuffle", (VECTOR,), {"groups": 5}, "5 groups do not divide 6 channels", "choose a divisor of the width"),
    ("softmax.Softmax", (VECTOR,), {"start": -1.0}, "a temperature is above 0", ""),
    ("softmax.Softmax", (VECTOR,), {"parts": 4}, "4 equal parts of 6 channels", "choose a number that divides the width"),
    ("random_features.RandomFeatures", (VECTOR,), {"n": 0}, "0 random features", "at least 1"),
    ("avg_pool.AvgPool", (MAP,), {"kernel": 3, "padding": 2}, "a padding of 2 a side, for a window of 3", "half the window"),
    ("avg_pool.AvgPool", (MAP,), {"kernel": 9, "stride": 9, "padding": 0}, "a window of 9x9 does not fit a grid of 6x8", ""),
    ("avg_pool.AvgPool", (MAP,), {"kernel": 9, "padding": 0, "ceil": True}, "a window of 9x9 does not fit a grid of 6x8", ""),
    ("avg_pool.AvgPool", (CUBE,), {"kernel": 5}, "map 6 x 4x4x4 is smaller than the window", "in 3-D"),
    ("avg_pool.AvgPool", (MAP,), {"kernel": 0}, "at least 1", ""),
    ("max_pool.MaxPool", (MAP,), {"kernel": 3, "padding": 2}, "a padding of 2 a side, for a window of 3", "half the window"),
    ("avg_pool.AvgPool", (MAP,), {"kernel": 3, "padding": "valid"}, "unknown padding 'valid'", '"same"'),
    ("unfold.Unfold", (MAP,), {"kernel": 3, "padding": "valid"}, "unknown padding 'valid'", '"same"'),
    ("fold.Fold", (MAP,), {"kernel": 2}, "6 channels do not fill windows of 2x2", "a width that 4 divides"),
    ("fold.Fold", (MAP,), {"kernel": 0}, "a kernel is at least 1", "`1` leaves"),
    ("fold.Fold", (LINE,), {"kernel": 2, "order": "c y x"}, "an order of 'c y x' in 1 dimension", '"c x"'),
    ("fold.Fold", (VECTOR,), {"kernel": 2}, "fold works in 1, 2 or 3 dimensions, not in 0", "no windows"),
    ("crop.Crop", (MAP,), {"size": 90, "start": None}, "a crop of 90, of an extent of", "a smaller part, or `pad` before it"),
    ("crop.Crop", (MAP,), {"size": 1, "start": 90}, "a crop of 1 from 90 on, of an extent of", "a smaller part"),
    ("crop.Crop", (MAP,), {"size": 0, "start": None}, "a size of 0", "at least 1"),
    ("spectrum.Rfft", (MAP,), {"norm": "sum"}, 'unknown norm "sum"', '"ortho"'),
    ("spectrum.Irfft", (LINE,), {"n": 7}, "9 frequencies for an extent of 7", "those of 16 or 17 positions"),
    ("tile.Tile", (MAP,), {"n": [2, 0], "over": "tokens"}, "[2, 0] copies", "at least 1 along each axis"),
    ("tile.Tile", (MAP,), {"n": 0, "over": "channels"}, "0 copies", "at least 1"),
    ("tile.Tile", (MAP,), {"n": 2, "over": "rows"}, '`tile(over="rows")`', '"tokens" or "channels"'),
    ("pick.Pick", (TOKENS,), {"tokens": [0, 13]}, "there is no token 13: 13 arrive", "prefix tokens first"),
    ("pick.Pick", (TOKENS,), {"tokens": []}, "no token is picked", "at least one number"),
    ("standardize.Standardize", (VECTOR,), {"parts": 4}, "4 equal parts of 6 channels", "divides the width"),
    (
        "standardize.Standardize",
        (VECTOR,),
        {"parts": 6, "unbiased": True},
        "one channel has no unbiased variance",
        "two channels",
    ),
    ("batch_norm.BatchNorm", (MAP,), {"gamma": 0.0, "affine": False}, "a weight of 0 without a weight", "leave out `gamma=`"),
    ("pad.Pad", (MAP,), {"start": -1}, "padding is at least 0", "adds nothing"),
    ("pad.Pad", (MAP,), {"start": 1, "mode": "zeros"}, 'unknown mode "zeros"', '"constant", "reflect", "replicate", "circular"'),
    (
        "pad.Pad",
        (MAP,),
        {"start": 1, "mode": "reflect", "value": 1.0},
        'a value of 1 with mode "reflect"',
        "leave one of them out",
    ),
    ("pad.Pad", (MAP,), {"start": 50, "mode": "reflect"}, 'a padding of 50 with mode "reflect"', "at most"),
    ("pad.Pad", (MAP,), {"start": 50, "mode": "circular"}, 'a padding of 50 with mode "circular"', "at most"),
    ("pad.Pad", (MAP,), {"start": [1, 2, 3]}, "3 numbers for 2 spatial dimensions", "one per axis"),
    ("max_pool.MaxPool", (MAP,), {"kernel": 3, "padding": "valid"}, "unknown padding 'valid'", '"same"'),
    ("adaptive_avg_pool.AdaptiveAvgPool", (MAP,), {"size": 0}, "a size of 0x0", "at least 1"),
    ("adaptive_max_pool.AdaptiveMaxPool", (MAP,), {"size": [1, 2, 3]}, "3 numbers for 2 spatial dimensions", ""),
    ("global_pool.GlobalPool", (TOKENS,), {}, "1 prefix token would be averaged in", "patches >> global_pool"),
    ("global_pool.GlobalPool", (MAP,), {"kind": "mean"}, "unknown kind of pooling 'mean'", '"avg" or "max"'),
    ("dropout.Dropout", (MAP,), {"rate": 1.0}, "a drop rate of 1.0", "below 1"),
    ("drop_path.DropPath", (MAP,), {"rate": -0.1}, "a drop rate of -0.1", "at least 0"),
    ("unfold.Unfold", (MAP,), {"kernel": 2, "order": "x c"}, "an order of 'x c' in 2 dimensions", '"c y x"'),
    ("unfold.Unfold", (LINE,), {"kernel": 2, "order": "c y x"}, "an order of 'c y x' in 1 dimension", '"c x"'),
    ("resize.Resize", (CUBE,), {"size": 3, "mode": "bicubic"}, "'bicubic' interpolates in 2-D only", "bilinear"),
    ("resize.Resize", (MAP,), {"size": 3, "mode": "bilinaer"}, "unknown mode 'bilinaer'", "did you mean 'bilinear'?"),
    ("resize.Resize", (LINE,), {"size": 3, "antialias": True}, "no antialias for 'bilinear' in 1-D", "2-D"),
    ("resize.Resize", (MAP,), {"size": 3, "mode": "nearest", "align_corners": True}, "'nearest' has no align_corners", ""),
    ("resize.Resize", (MAP,), {"size": [3, 0]}, "a size of 3x0", "at least 1"),
    ("upsample.Upsample", (MAP,), {"factor": 0}, "a factor of 0", "at least 1"),
    ("upsample.Upsample", (LINE,), {"factor": 2, "mode": "bicubic"}, "2-D only, this map has 1 dimension", "bilinear"),
    ("learned.Learned", (MAP,), {"n": 0}, "0 learned tokens", "at least 1"),
    (
        "mixture_conv.MixtureConv",
        (MAP, VECTOR),
        {"out": 4},
        "the route is a vector of 6, the mixture has 4 experts",
        "a vector of 4",
    ),
    ("mixture_conv.MixtureConv", (MAP, TOKENS), {"out": 4, "experts": 6}, "the route is a tokens 1 + 3x4 x 6", "a vector of 6"),
    ("deform_conv.DeformConv", (LINE,), {"out": 4, "kernel": 3}, "works in 2 dimensions, not in 1", "`conv`"),
    ("deform_conv.DeformConv", (CUBE,), {"out": 4, "kernel": 3}, "works in 2 dimensions, not in 3", "`conv`"),
    ("deform_conv.DeformConv", (MAP,), {"out": 4, "kernel": 7}, "a window of 7x7 does not fit a grid of 6x8", ""),
]


@pytest.mark.parametrize(("name", "features", "arguments", "message", "hint"), WRONG)
def test_shape_explains(name: str, features: tuple[Feature, ...], arguments: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(SpecError) as raised:
        shape(name, *features, **arguments)
    (problem,) = raised.value.problems
    assert message in problem.message
    assert problem.hint and hint in problem.hint


@pytest.mark.parametrize("name", ["dropout.Dropout", "drop_path.DropPath"])
def test_rates_are_checked_without_the_compiler(name: str) -> None:
    with pytest.raises(ValueError, match="a drop rate of 1"):
        build(name, MAP, rate=1.0)


def test_agent_bias_has_two_sides() -> None:
    with pytest.raises(SpecError, match="unknown side 'values'"):
        build("agent_bias.AgentBias", MAP, heads=2, agents=4, side="values")


def test_a_softmax_without_start_has_nothing_to_anneal() -> None:
    with pytest.raises(SpecError, match="this softmax has one temperature"):
        build("softmax.Softmax", VECTOR).anneal(2.0)  # type: ignore[operator]
