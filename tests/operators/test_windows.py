"""Pooling, unfolding and interpolation against torch's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from leaves import build, feature, inputs, shape

pytestmark = pytest.mark.usefixtures("float64")
GRIDS = [(11,), (6, 9), (4, 5, 6)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)
avg_pool: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
max_pool: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@grids
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"kernel": 3}, (3, 1, 1, False, True)),
        ({"kernel": 3, "count_padding": False}, (3, 1, 1, False, False)),
        ({"kernel": 2, "stride": 2, "count_padding": False, "ceil": True}, (2, 2, 0, True, False)),
        ({"kernel": 3, "stride": 2, "ceil": True}, (3, 2, 1, True, True)),
        ({"kernel": 4, "stride": 1, "padding": 0}, (4, 1, 0, False, True)),
    ],
)
def test_avg_pool(grid: tuple[int, ...], ours: dict[str, Any], theirs: tuple[Any, ...]) -> None:
    x = feature("map", 3, *grid)
    (tensor,) = inputs(x)
    torch.testing.assert_close(build("avg_pool.AvgPool", x, **ours)(tensor), avg_pool[len(grid)](tensor, *theirs))


def test_avg_pool_of_a_single_position() -> None:
    """ResNet-D's shortcut, where nothing is left to halve."""
    x = feature("map", 3, 1, 1)
    (tensor,) = inputs(x)
    module = build("avg_pool.AvgPool", x, kernel=2, stride=2, count_padding=False, ceil=True)
    torch.testing.assert_close(module(tensor), tensor)


@grids
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [({"kernel": 3, "stride": 2}, (3, 2, 1)), ({"kernel": 2, "stride": 2}, (2, 2)), ({"kernel": 3, "padding": 0}, (3, 1))],
)
def test_max_pool(grid: tuple[int, ...], ours: dict[str, Any], theirs: tuple[Any, ...]) -> None:
    x = feature("map", 3, *grid)
    (tensor,) = inputs(x)
    torch.testing.assert_close(build("max_pool.MaxPool", x, **ours)(tensor), max_pool[len(grid)](tensor, *theirs))


@pytest.mark.parametrize("grid", [(7,), (7, 8), (3, 4, 5)])
def test_avg_pool_same_without_its_zeros(grid: tuple[int, ...]) -> None:
    """TensorFlow's rule: a window at the border is the mean of what lies on the map."""
    x = feature("map", 3, *grid)
    (tensor,) = inputs(x)
    for kernel, stride in ((3, 2), (2, 1)):
        module = build("avg_pool.AvgPool", x, kernel=kernel, stride=stride, padding="same", count_padding=False)
        y = module(tensor)
        assert y.shape[2:] == tuple(-(-g // stride) for g in grid)
        for place in itertools.product(*(range(n) for n in y.shape[2:])):
            cut = tensor
            for axis, (i, g) in enumerate(zip(place, grid, strict=True)):
                total = max(0, (-(-g // stride) - 1) * stride + kernel - g)
                begin = i * stride - total // 2
                cut = cut.narrow(axis + 2, max(begin, 0), min(begin + kernel, g) - max(begin, 0))
            torch.testing.assert_close(y[(..., *place)], cut.flatten(2).mean(2))


@pytest.mark.parametrize("layout", ["map", "grid"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads"), [(3, 2, (0, 1, 1, 1)), (4, 3, (1, 1, 1, 2)), (2, 2, (0, 0, 0, 1)), (3, 1, (1, 1, 1, 1))]
)
def test_unfold_same(layout: str, kernel: int, stride: int, pads: tuple[int, ...]) -> None:
    x = feature(layout, 3, 7, 8)
    (tensor,) = inputs(x)
    module = build("unfold.Unfold", x, kernel=kernel, stride=stride, padding="same")
    image = tensor if layout == "map" else tensor.movedim(-1, 1)
    expected = F.unfold(F.pad(image, pads), kernel, stride=stride).unflatten(2, (-(-7 // stride), -(-8 // stride)))
    torch.testing.assert_close(module(tensor), expected if layout == "map" else expected.movedim(1, -1))


@pytest.mark.parametrize("layout", ["map", "grid"])
@pytest.mark.parametrize(
    ("grid", "kernel", "order"),
    [
        ((5,), 3, None),
        ((5,), 3, "x c"),
        ((4, 6), 2, None),
        ((4, 6), [2, 3], "c x y"),
        ((4, 6), [3, 2], "y c x"),
        ((2, 3, 4), [2, 1, 3], "x c z y"),
    ],
)
def test_fold_undoes_unfold(layout: str, grid: tuple[int, ...], kernel: Any, order: str | None) -> None:
    kernels = [kernel] * len(grid) if isinstance(kernel, int) else kernel
    x = feature(layout, 3, *(g * k for g, k in zip(grid, kernels, strict=True)))
    (tensor,) = inputs(x)
    windows = build("unfold.Unfold", x, kernel=kernel, stride=kernel, order=order)(tensor)
    small = shape("unfold.Unfold", x, kernel=kernel, stride=kernel, order=order, padding=None, ceil=False)
    assert torch.equal(build("fold.Fold", small, kernel=kernel, order=order)(windows), tensor)
    assert shape("fold.Fold", small, kernel=kernel, order=order) == x


def test_fold_is_torchs_pixel_shuffle() -> None:
    x = feature("grid", 12, 4, 5)
    (tensor,) = inputs(x)
    expected = F.pixel_shuffle(tensor.movedim(-1, 1), 2).movedim(1, -1)
    assert torch.equal(build("fold.Fold", x, kernel=2)(tensor), expected)


@pytest.mark.parametrize("layout", ["map", "grid"])
@pytest.mark.parametrize(
    ("arguments", "rows", "columns"),
    [
        ({"size": 4}, slice(0, 4), slice(2, 6)),
        ({"size": [2, 5]}, slice(1, 3), slice(1, 6)),
        ({"size": [2, 3], "start": 1}, slice(1, 3), slice(1, 4)),
        ({"size": 3, "start": [2, 5]}, slice(2, 5), slice(5, 8)),
    ],
)
def test_crop(layout: str, arguments: dict[str, Any], rows: slice, columns: slice) -> None:
    x = feature(layout, 3, 5, 8)
    (tensor,) = inputs(x)
    cropped = build("crop.Crop", x, **arguments)(tensor)
    assert tuple(cropped.shape) == shape("crop.Crop", x, **{"start": None, **arguments}).size(2)
    assert torch.equal(cropped, tensor[:, :, rows, columns] if layout == "map" else tensor[:, rows, columns])


@pytest.mark.parametrize("layout", ["map", "grid"])
@pytest.mark.parametrize("copies", [2, [1, 3]])
def test_tile(layout: str, copies: Any) -> None:
    x = feature(layout, 3, 2, 4)
    (tensor,) = inputs(x)
    tiled = build("tile.Tile", x, n=copies)(tensor)
    assert tuple(tiled.shape) == shape("tile.Tile", x, n=copies, over="tokens").size(2)
    down, right = [copies] * 2 if isinstance(copies, int) else copies
    axes = (2, 3) if layout == "map" else (1, 2)
    for place, piece in enumerate(tiled.split(2, axes[0])):
        assert place < down
        for across, copy in enumerate(piece.split(4, axes[1])):
            assert across < right
            assert torch.equal(copy, tensor)


@pytest.mark.parametrize("layout", ["map", "grid"])
def test_tile_of_channels(layout: str) -> None:
    x = feature(layout, 3, 2, 4)
    (tensor,) = inputs(x)
    tiled = build("tile.Tile", x, n=2, over="channels")(tensor)
    assert tuple(tiled.shape) == shape("tile.Tile", x, n=2, over="channels").size(2)
    assert torch.equal(tiled, torch.cat([tensor, tensor], 1 if layout == "map" else -1))


def test_pick() -> None:
    x = feature("tokens", 3, 2, 4, prefix=1)
    (tensor,) = inputs(x)
    picked = build("pick.Pick", x, tokens=[8, 0, -2, 0])(tensor)
    assert torch.equal(picked, torch.stack([tensor[:, i] for i in (8, 0, 7, 0)], 1))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("grid", "start", "end", "pads"),
    [
        ((7,), 1, None, (1, 1)),
        ((5, 6), 0, 1, (0, 1, 0, 1)),
        ((5, 6), [1, 2], [0, 3], (2, 3, 1, 0)),
        ((3, 4, 5), 1, 2, (1, 2, 1, 2, 1, 2)),
    ],
)
def test_pad(grid: tuple[int, ...], start: Any, end: Any, pads: tuple[int, ...], mode: str) -> None:
    x = feature("map", 3, *grid)
    (tensor,) = inputs(x)
    module = build("pad.Pad", x, start=start, end=end, mode=mode)
    torch.testing.assert_close(module(tensor), F.pad(tensor, pads, mode))
    assert tuple(module(tensor).shape[2:]) == shape("pad.Pad", x, start=start, end=end, mode=mode).grid


def test_one_more_zero_at_the_end_is_what_tensorflow_does_on_even_maps() -> None:
    x = feature("map", 3, 6, 8)
    (tensor,) = inputs(x)
    conv = build("conv.Conv", x, out=4, kernel=3, stride=2, padding="same")
    plain = build("conv.Conv", x, out=4, kernel=3, stride=2, padding=0)
    plain.load_state_dict(conv.state_dict())
    torch.testing.assert_close(plain(build("pad.Pad", x, start=0, end=1)(tensor)), conv(tensor))


def test_max_pool_same_pads_what_never_wins() -> None:
    x = feature("map", 3, 8, 7)
    module = build("max_pool.MaxPool", x, kernel=3, stride=2, padding="same")
    tensor = -1 - inputs(x)[0].abs()  # below the 0 that an ordinary padding would let win
    expected = F.max_pool2d(F.pad(tensor, (1, 1, 0, 1), value=float("-inf")), 3, 2)
    torch.testing.assert_close(module(tensor), expected)


@grids
@pytest.mark.parametrize("size", [1, 3, 4])
def test_adaptive_pools(grid: tuple[int, ...], size: int) -> None:
    x = feature("map", 3, *grid)
    (tensor,) = inputs(x)
    mean, best = (
        build(name, x, size=size)(tensor) for name in ("adaptive_avg_pool.AdaptiveAvgPool", "adaptive_max_pool.AdaptiveMaxPool")
    )
    for place in itertools.product(range(size), repeat=len(grid)):
        bins = [slice(i * g // size, -(-(i + 1) * g // size)) for i, g in zip(place, grid, strict=True)]
        values = tensor[:, :, *bins].flatten(2)
        torch.testing.assert_close(mean[:, :, *place], values.mean(2))
        torch.testing.assert_close(best[:, :, *place], values.amax(2))


@grids
@pytest.mark.parametrize("layout", ["map", "grid", "tokens"])
def test_global_pool(grid: tuple[int, ...], layout: str) -> None:
    x = feature(layout, 3, *grid)
    (tensor,) = inputs(x)
    flat = tensor.flatten(2) if layout == "map" else tensor.view(2, -1, 3).transpose(1, 2)
    torch.testing.assert_close(build("global_pool.GlobalPool", x)(tensor), flat.mean(2))
    torch.testing.assert_close(build("global_pool.GlobalPool", x, kind="max")(tensor), flat.amax(2))


@pytest.mark.parametrize("layout", ["map", "grid"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"kernel": 7, "stride": 4}, {"kernel_size": 7, "stride": 4, "padding": 2}),
        ({"kernel": [2, 3], "stride": [2, 1]}, {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 1)}),
        ({"kernel": 2, "stride": 2}, {"kernel_size": 2, "stride": 2}),
        ({"kernel": 2, "stride": 2, "padding": 1}, {"kernel_size": 2, "stride": 2, "padding": 1}),
        ({"kernel": 3, "stride": 3, "order": "c y x"}, {"kernel_size": 3, "stride": 3}),
    ],
)
def test_unfold_is_torchs(layout: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    x = feature(layout, 3, 8, 11)
    (tensor,) = inputs(x)
    result = build("unfold.Unfold", x, **ours)(tensor)
    expected = F.unfold(tensor if layout == "map" else tensor.movedim(-1, 1), **theirs)
    torch.testing.assert_close(result.flatten(2) if layout == "map" else result.flatten(1, 2).mT, expected)


@pytest.mark.parametrize("layout", ["map", "grid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("grid", [(7,), (5, 7), (4, 5, 7)], ids=str)
def test_unfold_in_any_order(layout: str, stride: int, grid: tuple[int, ...]) -> None:
    rank = len(grid)
    axes = ["z", "y", "x"][-rank:]
    kernel = [2, 3, 3][:rank]
    x = feature(layout, 2, *grid)
    (tensor,) = inputs(x)
    first = tensor if layout == "map" else tensor.movedim(-1, 1)
    for order in itertools.permutations(["c", *axes]):
        module = build("unfold.Unfold", x, kernel=kernel, stride=stride, order=" ".join(order), padding=0)
        result = module(tensor) if layout == "map" else module(tensor).movedim(-1, 1)
        sizes = dict(zip(axes, kernel, strict=True)) | {"c": 2}
        for number, digits in enumerate(itertools.product(*(range(sizes[axis]) for axis in order))):
            at = dict(zip(order, digits, strict=True))
            ends = [at[a] + g - k + 1 for a, k, g in zip(axes, kernel, grid, strict=True)]
            window = [slice(at[a], end, stride) for a, end in zip(axes, ends, strict=True)]
            assert torch.equal(result[:, number], first[:, at["c"], *window])


def test_unfold_is_swins_patch_merging() -> None:
    x = feature("grid", 3, 4, 6)
    (tensor,) = inputs(x)
    expected = torch.cat([tensor[:, i::2, j::2] for i, j in [(0, 0), (1, 0), (0, 1), (1, 1)]], -1)
    assert torch.equal(build("unfold.Unfold", x, kernel=2, stride=2, order="x y c")(tensor), expected)


@pytest.mark.parametrize("layout", ["map", "grid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (5, 8), (6, 9)], ids=str)
def test_unfold_keeps_a_last_window_that_sticks_out(layout: str, kernel: int, stride: int, grid: tuple[int, int]) -> None:
    """Every place is seen, the map is filled up with as few zeros as that takes, and the shape is foretold."""
    x = feature(layout, 3, *grid)
    (tensor,) = inputs(x)
    arguments = {"kernel": kernel, "stride": stride, "padding": 0, "ceil": True}
    result = build("unfold.Unfold", x, **arguments)(tensor)
    assert result.shape == shape("unfold.Unfold", x, **arguments).size(2)
    ends = [next(e for e in range(9) if g + e >= kernel and (g + e - kernel) % stride == 0) for g in grid]
    filled = F.pad(tensor if layout == "map" else tensor.movedim(-1, 1), (0, ends[1], 0, ends[0]))
    expected = F.unfold(filled, kernel, stride=stride)
    assert torch.equal(result.flatten(2) if layout == "map" else result.flatten(1, 2).mT, expected)


@grids
def test_resize(grid: tuple[int, ...]) -> None:
    x = feature("map", 3, *grid)
    (tensor,) = inputs(x)
    size = [5, 7, 3][: len(grid)]
    for ours, theirs in [
        ({}, {"mode": LINEAR[len(grid)], "align_corners": False}),
        ({"align_corners": True}, {"mode": LINEAR[len(grid)], "align_corners": True}),
        ({"mode": "nearest"}, {"mode": "nearest"}),
    ]:
        expected = F.interpolate(tensor, tuple(size), **theirs)
        torch.testing.assert_close(build("resize.Resize", x, size=size, **ours)(tensor), expected)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_resize_an_image(mode: str, antialias: bool) -> None:
    x = feature("map", 3, 9, 6)
    (tensor,) = inputs(x)
    expected = F.interpolate(tensor, (4, 4), mode=mode, align_corners=False, antialias=antialias)
    torch.testing.assert_close(build("resize.Resize", x, size=4, mode=mode, antialias=antialias)(tensor), expected)


@grids
def test_upsample(grid: tuple[int, ...]) -> None:
    x = feature("map", 3, *grid)
    (tensor,) = inputs(x)
    nearest = tensor
    for axis in range(len(grid)):
        nearest = nearest.repeat_interleave(2, 2 + axis)
    assert torch.equal(build("upsample.Upsample", x, factor=2)(tensor), nearest)
    expected = F.interpolate(tensor, scale_factor=3, mode=LINEAR[len(grid)])
    torch.testing.assert_close(build("upsample.Upsample", x, factor=3, mode="bilinear")(tensor), expected)
