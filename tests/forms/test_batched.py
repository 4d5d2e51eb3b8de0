"""Windows and grids as batch: `windows`, `merge`, `dilated`, against cutting by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
Extents = tuple[int, ...]


def build(model: str, *grid: int, c: int = 4) -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (c, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()


def cuts(x: Tensor, size: Extents, stride: Extents) -> list[Tensor]:
    """The windows of a map, row by row."""
    counts = [(g - s) // d + 1 for g, s, d in zip(x.shape[2:], size, stride, strict=True)]
    result = []
    for number in itertools.product(*map(range, counts)):
        at = tuple(slice(n * d, n * d + s) for n, d, s in zip(number, stride, size, strict=True))
        result.append(x[:, :, *at])
    return result


WINDOWS = [
    ((12,), "4", "", (4,), (4,)),
    ((6, 8), "2", "", (2, 2), (2, 2)),
    ((6, 8), "[3, 4]", "", (3, 4), (3, 4)),
    ((4, 6, 2), "2", "", (2, 2, 2), (2, 2, 2)),
    ((10,), "4", ", stride=3", (4,), (3,)),
    ((7, 9), "3", ", stride=2", (3, 3), (2, 2)),
    ((7, 8), "[3, 4]", ", stride=[2, 4]", (3, 4), (2, 4)),
    ((5, 4, 3), "[3, 2, 1]", ", stride=[2, 2, 1]", (3, 2, 1), (2, 2, 1)),
]


@pytest.mark.parametrize(("grid", "size", "stride", "sizes", "strides"), WINDOWS)
def test_windows_are_images(grid: Extents, size: str, stride: str, sizes: Extents, strides: Extents) -> None:
    """What is convolved and pooled in each window for itself; merged, row by row of the windows."""
    model = build(f"windows({size}{stride}) >> conv(3, 3, padding=1) >> global_pool >> merge", *grid)
    (weight, bias), rank, x = model.parameters(), len(grid), torch.randn(2, 4, *grid)
    expected = [CONV[rank](cut, weight, bias, padding=1).flatten(2).mean(-1) for cut in cuts(x, sizes, strides)]
    counts = tuple((g - s) // d + 1 for g, s, d in zip(grid, sizes, strides, strict=True))
    result = model(x)
    assert result.shape == (2, *counts, 3)
    torch.testing.assert_close(result.flatten(1, -2), torch.stack(expected, 1))


@pytest.mark.parametrize(("grid", "size"), [((12,), "4"), ((6, 8), "[3, 2]"), ((4, 6, 2), "2")])
def test_merge_is_the_inverse(grid: Extents, size: str) -> None:
    x = torch.randn(2, 4, *grid)
    torch.testing.assert_close(build(f"windows({size}) >> merge", *grid)(x).movedim(-1, 1), x)
    one, other = build(f"windows({size}) >> attention(2) >> merge", *grid), build(f"window({size}, attention(2))", *grid)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(x), other(x))


def test_windows_of_windows_merge_one_by_one() -> None:
    x = torch.randn(2, 4, 8, 12)
    torch.testing.assert_close(build("windows(4) >> windows(2) >> merge >> merge", 8, 12)(x).movedim(-1, 1), x)
    halves = build("windows(4) >> windows(2) >> global_pool >> merge >> merge", 8, 12)(x)
    torch.testing.assert_close(halves.movedim(-1, 1), F.avg_pool2d(x, 2))


def test_windows_may_shrink_before_they_merge() -> None:
    """STViT's semantic tokens: each window pooled, its keys a larger window around it."""
    text = "|\n  x ->\n  t = x >> windows(4) >> adaptive_max_pool(2)\n  return t >> attention(2, over=x >> windows(6, stride=2)) >> merge"
    model, x = build(text, 8, 8), torch.randn(2, 4, 8, 8)
    w = {name.removeprefix("attention."): p for name, p in model.named_parameters()}
    result = model(x)
    assert result.shape == (2, 4, 4, 4)
    tokens, keys = F.adaptive_max_pool2d(x[:, :, 4:, :4], 2).flatten(2).mT, x[:, :, 2:, :6].flatten(2).mT
    q = F.linear(tokens, w["q.weight"], w["q.bias"])
    k, v = F.linear(keys, w["kv.weight"], w["kv.bias"]).chunk(2, -1)
    q, k, v = (part.unflatten(-1, (2, 2)).transpose(1, 2) for part in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(result[:, 2:, :2].flatten(1, 2), F.linear(out, w["proj.weight"], w["proj.bias"]))


def test_pixels_of_a_patch_become_its_token() -> None:
    """TNT: a convolution that sees its patch alone, its tokens one after the other."""
    model, x = (
        build('windows(4) >> conv(3, 3, stride=2, padding=1) >> flatten(order="n c") >> merge', 8, 12),
        torch.randn(2, 4, 8, 12),
    )
    weight, bias = model.parameters()
    patch = F.conv2d(x[:, :, 4:, 8:], weight, bias, stride=2, padding=1)
    torch.testing.assert_close(model(x)[:, 1, 2], patch.permute(0, 2, 3, 1).flatten(1))


def test_wires_from_outside_come_once_for_each_window() -> None:
    x = torch.randn(2, 4, 6, 8)
    model = build("x -> x >> windows(2) >> id * (x >> global_pool) >> merge", 6, 8)
    torch.testing.assert_close(model(x).movedim(-1, 1), x * x.mean((2, 3), keepdim=True))
    with_token = build("x -> x >> windows(2) >> join(x >> global_pool >> ones(1), id) >> take(0) >> merge", 6, 8)
    torch.testing.assert_close(with_token(x), torch.ones(2, 3, 4, 4))


DILATED = [
    ((12,), "3", (3,)),
    ((6, 8), "2", (2, 2)),
    ((6, 8), "[3, 4]", (3, 4)),
    ((6, 8), "[1, 2]", (1, 2)),
    ((4, 6, 2), "2", (2, 2, 2)),
]


@pytest.mark.parametrize(("grid", "rate", "rates"), DILATED)
def test_dilated_sees_every_nth_token(grid: Extents, rate: str, rates: Extents) -> None:
    model, rank, x = build(f"dilated({rate}, conv(3, 3))", *grid), len(grid), torch.randn(2, 4, *grid)
    expected = torch.empty(2, 3, *grid)
    for phase in itertools.product(*map(range, rates)):
        at = tuple(slice(p, None, r) for p, r in zip(phase, rates, strict=True))
        expected[:, :, *at] = CONV[rank](x[:, :, *at], *model.parameters(), padding=1)
    torch.testing.assert_close(model(x).movedim(-1, 1), expected)
    torch.testing.assert_close(expected, CONV[rank](x, *model.parameters(), padding=rates, dilation=rates))


def test_dilated_attention_is_attention_on_each_grid() -> None:
    """MobileViT's tokens: the same pixel of all patches."""
    model, x = build("dilated(2, attention(2))", 6, 8), torch.randn(2, 4, 6, 8)
    whole = build("attention(2)", 3, 4)
    whole.load_state_dict(model.state_dict())
    for y, z in itertools.product(range(2), range(2)):
        torch.testing.assert_close(model(x)[:, y::2, z::2], whole(x[:, :, y::2, z::2]))


@pytest.mark.parametrize("grid", [(7,), (5, 6), (3, 4, 5)])
def test_dilated_fits(grid: Extents) -> None:
    rank, x = len(grid), torch.randn(2, 4, *grid)
    full = [g + g % 2 for g in grid]
    ends = [n for g in reversed(grid) for n in (0, g % 2)]
    padded, resized, even = (
        build(f'dilated(2, conv(3, 3), fit="{fit}")', *size) for fit, size in (("pad", grid), ("resize", grid), ("exact", full))
    )
    for model in (padded, resized):
        even.load_state_dict(model.state_dict())
        if model is padded:
            expected = even(F.pad(x, ends))[:, *(slice(g) for g in grid)].movedim(-1, 1)
        else:
            mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
            expected = F.interpolate(even(F.interpolate(x, full, mode=mode)).movedim(-1, 1), grid, mode=mode)
        torch.testing.assert_close(model(x).movedim(-1, 1), expected)
    assert "interpolate" not in build('dilated(2, conv(3, 3), fit="resize")', 4, 6).source


def test_absent_inside_is_absent() -> None:
    x = torch.randn(2, 4, 6, 8)
    torch.testing.assert_close(build("res(dilated(2, none))", 6, 8)(x), x)


def test_a_wire_from_outside_may_come_back_from_a_window() -> None:
    x = torch.randn(2, 4, 6, 8)
    model = build("x -> x >> window([3, 4], x >> adaptive_avg_pool([3, 4]))", 6, 8)
    small = F.adaptive_avg_pool2d(x, (3, 4))
    torch.testing.assert_close(model(x).movedim(-1, 1), small.repeat(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("windows(4)", "windows of 4x4 do not cover a map of 6x8", "choose another size"),
        ("windows(9)", "windows of 9x9 do not cover a map of 6x8", "choose another size"),
        ("windows(3, stride=2)", "windows of 3x3, 2x2 apart, do not cover a map of 6x8", "choose another size"),
        ("windows(2, stride=4)", "windows of 2x2, 4x4 apart, do not cover", "choose another size"),
        ("windows(0)", "a window of 0 on 2 axes", "one number from 1"),
        ("windows([2, 2, 2])", "a window of [2, 2, 2] on 2 axes", "one an axis"),
        ("windows(2, stride=[1])", "a stride of [1] on 2 axes", "one an axis"),
        ("merge", "there are no windows to merge", "windows(7)"),
        ("windows(2) >> global_pool >> merge >> merge", "there are no windows to merge", "windows(7)"),
        ("windows(2) >> learned(5) >> merge", "3x4 windows of tokens 5 x 4 cannot be merged", "number of axes"),
        ("windows(2) >> class_token >> merge", "1 prefix token(s) have no place on a map", "join(prefix"),
        ("x -> (x >> windows(2)) + (x >> windows([3, 2]))", "8 windows an image meet 12", "the same windows"),
        ("window(2, windows(1))", "windows come back in 4 windows of their own", "end what is inside with `merge`"),
        ("dilated(2, windows(1))", "dilated grids come back in 12 windows of their own", "`merge`"),
        ("dilated(4, id)", "a rate of 4x4 does not divide a map of 6x8", 'fit="resize"'),
        ("dilated(0, id)", "a rate of 0 on 2 axes", "one number from 1"),
        ("dilated([2], id)", "a rate of [2] on 2 axes", "one an axis"),
        ('dilated(2, id, fit="cut")', 'unknown fit "cut"', '"exact" or "pad" or "resize"'),
        ("dilated(2, conv(c, 2, stride=2))", "dilated grids of 3x4 come back as tokens 1x2 x 4", "keeps its extents"),
        ("class_token >> dilated(2, id)", "1 prefix token(s) have no place on a map", "join(prefix"),
        ("global_pool >> windows(2)", "a grid of tokens is needed here, this is a vector of 4", "global_pool"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model, 6, 8)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("<spec>:3:")
    assert message in first
    assert hint in last


def test_batch_flip_keeps_windows_with_their_image() -> None:
    text = "name: n\ninput: image(2, 8)\nmodel: x -> x >> windows(4) >> batch_flip >> merge"
    x = torch.randn(3, 2, 8, 8)
    assert torch.equal(metablock.build(load_text(text))(x).movedim(-1, 1), x.flip(0))
    with pytest.raises(metablock.MetablockError, match="has no batch"):
        metablock.build(load_text("name: n\ninput: image(8, 8)\nmodel: attention(2, pos=relative_bias >> batch_flip)"))
