"""The window form against windows cut out one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.language.load import load_text

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
Extents = tuple[int, ...]


def build(model: str, *grid: int, c: int = 4) -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (c, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()


def places(grid: Extents, size: Extents) -> Iterator[list[list[int]]]:
    """For each window, row by row, the places of the rolled and padded map that it sees, axis by axis."""
    counts = [-(-g // s) for g, s in zip(grid, size, strict=True)]
    for number in itertools.product(*map(range, counts)):
        yield [[n * s + i for i in range(s)] for n, s in zip(number, size, strict=True)]


def reference(x: Tensor, inside: Callable[[Tensor, list[list[int]]], Tensor], size: Extents, shift: Extents) -> Tensor:
    """``inside`` applied to one window after the other; place p of the rolled map is place p + shift of the map."""
    grid = tuple(x.shape[2:])
    result = None
    for window in places(grid, size):
        cut = torch.zeros(*x.shape[:2], *size)
        seen = []
        for place in itertools.product(*[range(s) for s in size]):
            at = [axis[i] for axis, i in zip(window, place, strict=True)]
            if all(p < g for p, g in zip(at, grid, strict=True)):
                source = [(p + d) % g for p, d, g in zip(at, shift, grid, strict=True)]
                cut[:, :, *place] = x[:, :, *source]
                seen.append((place, source))
        answer = inside(cut, window)
        if result is None:
            result = torch.full((x.shape[0], answer.shape[1], *grid), torch.nan)
        for place, source in seen:
            result[:, :, *source] = answer[:, :, *place]
    assert result is not None
    return result


CASES = [
    # map, window as written, shift as written, the window it becomes, the shift it becomes
    ((12,), "4", "0", (4,), (0,)),
    ((12,), "4", "1", (4,), (1,)),
    ((11,), "4", "3", (4,), (3,)),  # padded after the roll
    ((3,), "4", "2", (3,), (0,)),  # shrunk, and so not shifted
    ((4,), "4", "2", (4,), (0,)),  # one window
    ((6, 9), "3", "0", (3, 3), (0, 0)),
    ((6, 9), "3", "1", (3, 3), (1, 1)),
    ((6, 9), "[2, 3]", "[1, 2]", (2, 3), (1, 2)),
    ((6, 9), "[1, 9]", "0", (1, 9), (0, 0)),  # rows
    ((5, 9), "4", "2", (4, 4), (2, 2)),
    ((2, 9), "4", "1", (2, 4), (0, 1)),  # shrunk on one axis, padded and shifted on the other
    ((6, 3), "3", "1", (3, 3), (1, 0)),  # one window wide
    ((4, 5, 6), "2", "1", (2, 2, 2), (1, 1, 1)),
    ((4, 3, 6), "[2, 3, 4]", "[1, 1, 2]", (2, 3, 4), (1, 0, 2)),
]
cases = pytest.mark.parametrize(("grid", "size", "shift", "sizes", "shifts"), CASES)


@cases
def test_windows_see_themselves_alone(grid: Extents, size: str, shift: str, sizes: Extents, shifts: Extents) -> None:
    """A convolution inside finds zeros, not its neighbours, around each window."""
    model = build(f'window({size}, conv(5, 3), shift={shift}, fit="shrink")', *grid)
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(grid)]
    weight, bias = model.conv.weight, model.conv.bias
    x = torch.randn(2, 4, *grid)
    expected = reference(x, lambda cut, _: conv(cut, weight, bias, padding=1), sizes, shifts)
    torch.testing.assert_close(model(x).movedim(-1, 1), expected)


@pytest.mark.parametrize(
    ("grid", "size", "shift", "sizes", "shifts"),
    [
        ((3,), "4", "2", (4,), (0,)),
        ((2, 9), "4", "1", (4, 4), (0, 1)),  # filled up to one window on one axis, to three on the other
        ((3, 5), "7", "0", (7, 7), (0, 0)),
        ((4, 3, 6), "[2, 3, 8]", "[1, 1, 2]", (2, 3, 8), (1, 0, 0)),
        ((6, 9), "4", "1", (4, 4), (1, 1)),
    ],
)
def test_a_window_larger_than_the_map_is_filled_up(grid: Extents, size: str, shift: str, sizes: Extents, shifts: Extents) -> None:
    """`fit="pad"`: the window stays as large as it is, and its zeros take part."""
    inside = "attention(2, q=id, k=id, v=id, proj=id, pos=relative_bias)"
    model = build(f'window({size}, {inside}, shift={shift}, fit="pad")', *grid)
    table = model.attention.pos.table.weight
    assert table.shape[0] == math.prod(2 * s - 1 for s in sizes)
    nn.init.normal_(table)
    bias = position_bias(table, sizes)
    padded = tuple(-(-g // s) * s for g, s in zip(grid, sizes, strict=True))

    def attend(cut: Tensor, window: list[list[int]]) -> Tensor:
        heads = cut.flatten(2).unflatten(1, (2, 2)).mT
        logits = heads @ heads.mT * 2**-0.5 + bias + logits_mask(window, padded, shifts)
        return (logits.softmax(-1) @ heads).mT.reshape(cut.shape)

    x = torch.randn(2, 4, *grid)
    torch.testing.assert_close(model(x).movedim(-1, 1), reference(x, attend, sizes, shifts))


@pytest.mark.parametrize(
    ("grid", "size", "fit", "rate"),
    [
        ((12,), "4", "exact", (3,)),
        ((6, 9), "3", "exact", (2, 3)),
        ((6, 9), "[2, 3]", "exact", (3, 3)),
        ((6, 9), "4", "pad", (2, 3)),
        ((3, 9), "4", "shrink", (1, 3)),  # the window shrinks on one axis, zeros fill the other
        ((3, 9), "4", "pad", (1, 3)),
        ((4, 6, 6), "2", "exact", (2, 3, 3)),
    ],
)
def test_dilated_windows(grid: Extents, size: str, fit: str, rate: Extents) -> None:
    """Each sees every `rate`-th place of the padded map: a convolution inside is one of this dilation."""
    model = build(f'window({size}, conv(5, 3), fit="{fit}", dilated=true)', *grid)
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(grid)]
    sizes = [int(n) for n in size.strip("[]").split(",")] * (1 if "," in size else len(grid))
    sizes = [min(s, g) if fit == "shrink" else s for s, g in zip(sizes, grid, strict=True)]
    x, zeros = torch.randn(2, 4, *grid), []
    for extent, s, r in zip(grid[::-1], sizes[::-1], rate[::-1], strict=True):
        zeros += [0, s * r - extent]
    expected = conv(F.pad(x, zeros), model.conv.weight, model.conv.bias, padding=rate, dilation=rate)
    torch.testing.assert_close(model(x).movedim(-1, 1), expected[:, :, *[slice(g) for g in grid]])


@pytest.mark.parametrize("fit", ["exact", "shrink"])
def test_a_window_larger_than_the_map_shrinks(fit: str) -> None:
    model = build(f'window(7, attention(2, pos=relative_bias), shift=3, fit="{fit}")', 3, 5)
    assert model.attention.pos.table.weight.shape[0] == 5 * 9


@pytest.mark.parametrize(("fit", "table"), [("pad", 13 * 13), ("shrink", 5 * 9)])
def test_a_network_for_larger_maps_says_at_which_sizes_it_runs(fit: str, table: int) -> None:
    model = build(f'window(7, attention(2, pos=relative_bias), fit="{fit}")', 14, 14)
    with pytest.raises(metablock.MetablockError, match="made for one size"):
        model(torch.zeros(1, 4, 3, 5))
    small = build(f'window(7, attention(2, pos=relative_bias), fit="{fit}")', 3, 5)
    assert small(torch.zeros(1, 4, 3, 5)).shape == (1, 3, 5, 4) and small.attention.pos.table.weight.shape[0] == table


def logits_mask(window: list[list[int]], padded: Extents, shifts: Extents) -> Tensor:
    """-100 for a pair with a border of the padded map between them on a shifted axis: the roll brought them together."""
    tokens = list(itertools.product(*window))

    def apart(a: Extents, b: Extents) -> bool:
        return any(d > 0 and (i >= p - d) != (j >= p - d) for i, j, p, d in zip(a, b, padded, shifts, strict=True))

    return torch.tensor([[-100.0 * apart(a, b) for b in tokens] for a in tokens])


def position_bias(table: Tensor, size: Extents) -> Tensor:
    """``table[number of the distance, head]``, the last axis of the distance varying fastest."""
    tokens = list(itertools.product(*map(range, size)))
    result = torch.empty(table.shape[1], len(tokens), len(tokens))
    for (i, query), (j, key) in itertools.product(enumerate(tokens), enumerate(tokens)):
        number = 0
        for a, b, s in zip(query, key, size, strict=True):
            number = number * (2 * s - 1) + a - b + s - 1
        result[:, i, j] = table[number]
    return result


@pytest.mark.parametrize("heat", [1, 40], ids=["plain", "hot"])
@cases
def test_attention_in_windows(grid: Extents, size: str, shift: str, sizes: Extents, shifts: Extents, heat: int) -> None:
    """Logits, position bias and mask, number by number. Where logits reach hundreds, -100 is not minus infinity."""
    attention = "attention(2, q=id, k=id, v=id, proj=id, pos=relative_bias)"
    model = build(f'window({size}, {attention}, shift={shift}, fit="shrink")', *grid)
    nn.init.normal_(model.attention.pos.table.weight)
    bias = position_bias(model.attention.pos.table.weight, sizes)
    padded = tuple(-(-g // s) * s for g, s in zip(grid, sizes, strict=True))

    def attend(cut: Tensor, window: list[list[int]]) -> Tensor:
        heads = cut.flatten(2).unflatten(1, (2, 2)).mT  # batch, head, token, channel
        logits = heads @ heads.mT * 2**-0.5 + bias + logits_mask(window, padded, shifts)
        return (logits.softmax(-1) @ heads).mT.reshape(cut.shape)

    x = heat * torch.randn(2, 4, *grid)
    torch.testing.assert_close(model(x).movedim(-1, 1), reference(x, attend, sizes, shifts))


def test_mask_only_where_something_is_shifted() -> None:
    def masks(model: nn.Module) -> list[str]:
        return [name for name, _ in model.named_buffers() if name.endswith("mask")]

    assert masks(build("window(3, attention(2), shift=1)", 6, 9)) == ["attention.mask.mask"]
    assert not masks(build("window(3, attention(2))", 6, 9))
    assert not masks(build("window(3, attention(2), shift=1)", 3, 3))
    assert not masks(build("window(3, pool(3), shift=1)", 6, 9))
    # Keys of another grid are no tokens of the window.
    assert not masks(build("window(4, attention(2, over=avg_pool(2, stride=2)), shift=2)", 8, 8))
    # Nor are the windows inside a shifted one shifted.
    assert not masks(build("window(4, window(2, attention(2)), shift=2)", 8, 8))


def test_mask_is_not_saved() -> None:
    assert not [name for name in build("window(3, attention(2), shift=1)", 6, 9).state_dict() if "mask" in name]


def test_values_from_outside_come_once_for_each_window() -> None:
    """A vector, a map of the window's own extents (the queries of GC ViT), keys (cross attention)."""
    x = torch.randn(2, 4, 6, 9)
    vector = build("x -> x >> window(3, id * (x >> global_pool))", 6, 9)
    torch.testing.assert_close(vector(x).movedim(-1, 1), x * x.mean((2, 3), keepdim=True))
    for argument in ("q", "k"):
        others = {"q": "k=id, v=id", "k": "q=id, v=g"}[argument]
        text = f"|\n  g = adaptive_avg_pool(3)\n  return window(3, attention(2, {argument}=g, {others}, proj=id))"
        pooled = F.adaptive_avg_pool2d(x, 3)

        def attend(cut: Tensor, _: object, argument: str = argument, pooled: Tensor = pooled) -> Tensor:
            a, b = (pooled, cut) if argument == "q" else (cut, pooled)
            query, key = (t.flatten(2).unflatten(1, (2, 2)).mT for t in (a, b))
            return (F.scaled_dot_product_attention(query, key, key)).mT.reshape(cut.shape)

        expected = reference(x, attend, (3, 3), (0, 0))
        torch.testing.assert_close(build(text, 6, 9)(x).movedim(-1, 1), expected)


def test_windows_in_windows() -> None:
    x = torch.randn(2, 4, 12, 8)
    inner, outer = build("window(2, conv(c, 3))", 12, 8), build("window(4, window(2, conv(c, 3)))", 12, 8)
    outer.load_state_dict(inner.state_dict())
    torch.testing.assert_close(outer(x), inner(x))


def test_absent_inside_is_absent() -> None:
    x = torch.randn(2, 4, 6, 9)
    for text in ("res(window(3, none))", "res(window(3, id >> none))", "id + window(3, none, shift=1)"):
        torch.testing.assert_close(build(text, 6, 9)(x), x)


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("window(4, id)", "windows of 4x4 do not divide a map of 6x9", 'fit="pad"'),
        ("window(4, id, shift=2)", "windows of 4x4 do not divide a map of 6x9", '`fit="pad"` or `"shrink"`'),
        ('window(3, id, fit="cut")', 'unknown fit "cut"', '"exact" or "pad" or "shrink"'),
        ("window(0, id)", "a window of 0 on 2 axes", "one number from 1"),
        ("window([3, 3, 3], id)", "a window of [3, 3, 3] on 2 axes", "one an axis"),
        ("window(3, id, shift=3)", "a shift of 3 for windows of 3", "smaller than the window"),
        ("window(3, id, shift=-1)", "a shift of -1 for windows of 3", "smaller than the window"),
        ("window(3, id, shift=[1])", "a shift of [1] for windows of 3", "one an axis"),
        ("window(3, id, shift=0.5)", "'shift' of 'window' must be a whole number or a list of whole numbers", "//"),
        ("window(3)", "'window' needs the argument 'a'", "window(size, a, shift=0, fit=exact, stride=none, dilated=false)"),
        ("window(3, id, shift=1, dilated=true)", "dilated windows are neither shifted nor overlapping", "leave out `shift=`"),
        ("window(3, id, stride=2, dilated=true)", "dilated windows are neither shifted nor overlapping", "leave out `shift=`"),
        ("window(4, id, dilated=true)", "windows of 4x4 do not divide a map of 6x9", 'fit="pad"'),
        ("window(3, conv(c, 2, stride=2))", "windows of 3x3 come back as tokens 1x1 x 4", "keeps its extents"),
        ("global_pool >> window(3, id)", "a grid of tokens is needed here, this is a vector of 4", "global_pool"),
        ("class_token >> window(3, id)", "1 prefix token(s) have no place on a map", "join(prefix, patches >> ...)"),
        ("window(3, class_token >> attention(2), shift=1)", "prefix tokens in a shifted window", "shift by 0"),
        ("x -> [x, x] >> window(3, id)", "one value is needed here, this is a list", "x[0]"),
        (
            "x -> x >> window(3, attention(2, pos=relative_bias, k=x, v=x))",
            "`relative_bias` needs queries and keys on one grid",
            "self-attention",
        ),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model, 6, 9)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("<spec>:3:")
    assert message in first
    assert hint in last
