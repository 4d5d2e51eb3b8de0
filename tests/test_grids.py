"""Weights for another input: tables of other grids, and the two ends of a network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import NET, equal, net, plain
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel
from typer.testing import CliRunner

import metablock
from metablock.cli import app
from metablock.errors import MetablockError
from metablock.language.load import load_text
from metablock.operators.agent_bias import AgentBias
from metablock.operators.near_bias import NearBias
from metablock.operators.pair_bias import PairBias
from metablock.operators.position import Position
from metablock.operators.relative_bias import RelativeBias
from metablock.operators.tables import GridTable, tables_of
from oracles import require

# Tables of other grids


@pytest.mark.parametrize("size", ["3x288x512", "3x288x480", "3x192x288", "3x512x288"])
@pytest.mark.parametrize("stored", ["state dict", ".pth", ".safetensors", "averaged", "compiled"])
def test_positions_of_another_grid_with_as_many_places(size: str, stored: str, tmp_path: Path) -> None:
    timm = require("timm")
    edits = ["depth = 1"]
    small = {"classes": 5, "edits": edits}
    a = metablock.build("vit_tiny_patch16_224", input="3x384x384", **small)
    with torch.no_grad():
        a.stem.position.weight.normal_()
    weights: Any = a.state_dict()
    if stored == ".pth":
        torch.save({"model": weights}, tmp_path / "a.pth")
        weights = tmp_path / "a.pth"
    elif stored == ".safetensors":
        metablock.write(a, weights := tmp_path / "a.safetensors")
    elif stored == "averaged":
        weights = {"average": AveragedModel(a).state_dict(), "model": None}
    elif stored == "compiled":
        weights = nn.DataParallel(torch.compile(a, backend="eager")).state_dict()
    b = metablock.build("vit_tiny_patch16_224", input=size, weights=weights, **small)
    grid = [int(n) // 16 for n in size.split("x")[1:]]
    wanted = timm.layers.resample_abs_pos_embed(a.stem.position.weight.detach(), grid, [24, 24], num_prefix_tokens=1)
    torch.testing.assert_close(b.stem.position.weight.detach(), wanted, rtol=1e-6, atol=1e-6)
    assert b.loaded.resized == ["stem.position.weight"]
    assert f"1 resized: stem.position.weight (24x24 to {grid[0]}x{grid[1]})" in str(b.loaded)
    again = metablock.build("vit_tiny_patch16_224", input="3x384x384", weights=b.state_dict(), **small)  # from no square
    wanted = timm.layers.resample_abs_pos_embed(wanted, [24, 24], grid, num_prefix_tokens=1)
    torch.testing.assert_close(again.stem.position.weight.detach(), wanted, rtol=1e-5, atol=1e-5)


def test_a_grid_that_nothing_tells_is_asked_for() -> None:
    a, wide = net(input="3x64x64"), net(input="3x32x128")
    assert a.stem.position.weight.shape == wide.stem.position.weight.shape
    with pytest.raises(MetablockError, match=r"stem\.position\.weight .*\(256 rows, of 16x16 or of 8x32\?\)") as caught:
        net(input="3x32x128", weights=plain(a), edits=["body = relu"], seed=1)
    assert "weights_input='CxHxW' (--weights-input)" in str(caught.value)
    edits = ["body = relu"]
    a, wide = net(input="3x64x64", edits=edits), net(input="3x32x128", edits=edits)
    named = net(input="3x32x128", weights=plain(a), edits=edits, weights_input="3x64x64")
    assert torch.equal(
        named.stem.position.weight, net(input="3x32x128", weights=a.state_dict(), edits=edits).stem.position.weight
    )
    assert named.loaded.resized == ["stem.position.weight"]
    same = net(input="3x32x128", weights=plain(wide), edits=edits, weights_input="3x32x128")
    assert equal(same, plain(wide)) and not same.loaded.resized
    back = net(input="3x64x64", weights=plain(wide), edits=edits, weights_input=(3, 32, 128))
    assert torch.equal(
        back.stem.position.weight, net(input="3x64x64", weights=wide.state_dict(), edits=edits).stem.position.weight
    )
    with pytest.raises(MetablockError, match="256 rows, and 2x2 for the input that was named"):
        net(input="3x32x128", weights=plain(a), edits=edits, weights_input="3x8x8")
    with pytest.raises(MetablockError, match="weights_input: the network cannot be built for it"):
        net(weights=plain(a), edits=edits, weights_input="3x2x2")


def test_a_square_that_was_assumed_is_said() -> None:
    model = net(input="3x32x64", weights=plain(net(input="3x64x64")))
    assert "stem.position.weight (16x16, taken for a square, to 8x16)" in str(model.loaded)
    with pytest.raises(MetablockError, match=r"(?s)of another shape: stem\.position\.weight .*weights_input"):
        net(input="3x64x64", weights=plain(net(input="3x32x96", edits=["body = relu"])), edits=["body = relu"])


@pytest.mark.parametrize("stored", ["mapping", ".safetensors", ".ckpt"])
def test_a_grid_of_ours_that_was_assumed_is_said(stored: str, tmp_path: Path) -> None:
    wide, tall = net(input="3x24x32"), net(input="3x32x24")
    weights: Any = plain(wide)
    if stored == ".safetensors":
        save_file(weights, weights := tmp_path / "a.safetensors")
    elif stored == ".ckpt":
        torch.save({"state_dict": {f"model.{name}": value for name, value in weights.items()}}, tmp_path / "a.ckpt")
        weights = tmp_path / "a.ckpt"
    tables = list(tables_of(wide))
    for size, grid in (("3x24x32", "6x8"), ("3x32x24", "8x6")):
        model = net(input=size, weights=weights)
        assert equal(model, plain(wide)) and model.loaded.assumed == dict.fromkeys(tables, grid)
        said = f"2 taken to lie on our grid: stem.position.weight ({grid}), {tables[1]} ({grid})"
        assert said in str(model.loaded) and "weights_input='CxHxW'" in model.loaded.notes[0]
    named = net(input="3x32x24", weights=weights, weights_input="3x24x32")
    assert named.loaded.resized == tables and not named.loaded.assumed and not named.loaded.notes
    same = net(input="3x24x32", weights=weights, weights_input="3x24x32")
    assert equal(same, plain(wide)) and not same.loaded.assumed
    assert not net(weights=plain(net())).loaded.assumed  # squares
    assert not net(input="3x32x24", weights=tall.state_dict()).loaded.assumed


@pytest.mark.parametrize("way", ["wrapped", "prefix added", "prefix removed"])
def test_a_stated_grid_outlives_a_prefix(way: str, tmp_path: Path) -> None:
    wide = net(input="3x24x32")
    holder = nn.Module()
    holder.model = wide
    state = wide.state_dict() if way == "prefix added" else holder.state_dict()
    for name in list(state) if way != "wrapped" else []:
        state[f"model.{name}" if way == "prefix added" else name.removeprefix("model.")] = state.pop(name)
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    for weights in ({"state_dict": state}, tmp_path / "a.ckpt"):
        loaded = net(input="3x32x24", weights=weights).loaded
        assert list(loaded.grids.values()) == ["6x8 to 8x6"] * 2 and not loaded.assumed


def test_the_grid_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(NET)
    edits = ["body = relu"]
    a = net(input="3x64x64", edits=edits)
    save_file(plain(a), tmp_path / "a.safetensors")
    words = ["weights", "import", tmp_path / "a.safetensors", tmp_path / "net.yaml", "--edit", edits[0], "--input", "3x32x128"]
    words = [*map(str, words), "-o", str(tmp_path / "b.safetensors")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "of 16x16 or of 8x32?" in result.stderr and "--weights-input" in result.stderr
    result = CliRunner().invoke(app, [*words, "--weights-input", "3x64x64", "--names", "ours"])
    assert result.exit_code == 0 and "(16x16 to 8x32)" in result.stdout, result.stderr
    wanted = net(input="3x32x128", weights=a.state_dict(), edits=edits)
    assert equal(wanted, load_file(tmp_path / "b.safetensors"))


OLD_NEW = [
    (lambda g: RelativeBias(g, heads=3), (7, 7), (5, 9)),
    (lambda g: RelativeBias(g, heads=3), (3, 14), (14, 3)),  # as many offsets
    (lambda g: RelativeBias(g, heads=3, prefix=1), (4, 6), (6, 4)),
    (lambda g: RelativeBias(g, heads=3, mirror=True), (4, 6), (6, 4)),
    (lambda g: RelativeBias(g, heads=3), (7,), (12,)),
    (lambda g: RelativeBias(g, heads=3), (2, 3, 4), (4, 3, 2)),
    (lambda g: Position(6, g, 1), (4, 9), (6, 6)),
    (lambda g: Position(6, g, 2, mode="nearest"), (4, 9), (2, 3)),
    (lambda g: Position(6, g, 0), (36,), (24,)),
    (lambda g: Position(6, g, 0), (2, 3, 6), (3, 3, 4)),
    (lambda g: PairBias(heads=2, queries=g[0] * g[1] + 1, keys=4, query_grid=list(g), key_grid=[2, 2]), (4, 9), (6, 6)),
    (lambda g: AgentBias(g, 1, heads=2, agents=4), (4, 9), (6, 6)),
    (lambda g: AgentBias(g, 1, heads=2, agents=4, side="queries"), (4, 9), (6, 6)),
]


@pytest.mark.parametrize(("build", "old", "new"), OLD_NEW)
def test_a_table_is_what_torch_interpolates_row_by_row(build: Callable[..., nn.Module], old: tuple, new: tuple) -> None:
    """Each table of each operator, from a known grid to another: a function of the places stays that function's samples."""
    before, after = build(old), build(new)
    tables = tables_of(after)
    assert tables and tables.keys() == tables_of(before).keys()
    for name, lies in tables.items():
        value, wanted = before.state_dict()[name], after.state_dict()[name]
        value = torch.randn_like(value)
        for lie, was in zip(lies, tables_of(before)[name], strict=True):
            value = lie.resampled(value, was.grid)
            same = GridTable(**{**vars(lie), "grid": lie.grid}).resampled(value, lie.grid)
            torch.testing.assert_close(same, value)  # to its own grid it is the identity
            constant = lie.resampled(torch.ones_like(before.state_dict()[name]), was.grid)
            torch.testing.assert_close(constant, torch.ones_like(constant))
        assert value.shape == wanted.shape


@pytest.mark.parametrize(("old", "new"), [((7, 7), (5, 9)), ((3, 14), (14, 3)), ((2, 5), (4, 4))])
def test_relative_biases_are_timm_s(old: tuple[int, int], new: tuple[int, int]) -> None:
    timm = require("timm")
    module = RelativeBias(new, heads=3)
    rows = [2 * g - 1 for g in old]
    table = torch.randn(rows[0] * rows[1], 3)
    wanted = torch.nn.functional.interpolate(
        table.T.reshape(1, 3, *rows), [2 * g - 1 for g in new], mode="bicubic", align_corners=False
    )
    torch.testing.assert_close(module.resized(table, old), wanted[0].flatten(1).T)
    if old[0] == old[1]:
        theirs = timm.layers.resize_rel_pos_bias_table_simple(table, new, tuple(module.weight.shape))
        torch.testing.assert_close(module.resized(table), theirs)
    assert module.resized(table, (1, 1)) is None


def test_windows_of_another_shape_with_as_many_offsets() -> None:
    text = NET.replace(" >> position", "").replace(
        "res(attention(2, pos=relative_bias))", "window(WINDOW, attention(2, pos=relative_bias))"
    )
    spec = [load_text(text.replace("WINDOW", window)) for window in ("[1, 8]", "[8, 1]", "[4, 2]")]
    a = metablock.build(spec[0], seed=1)
    b = metablock.build(spec[1], weights=a.state_dict())
    (name,) = b.loaded.resized
    assert b.loaded.grids[name] == "1x8 to 8x1"
    old = a.state_dict()[name].T.reshape(1, 2, 1, 15)
    wanted = torch.nn.functional.interpolate(old, (15, 1), mode="bicubic", align_corners=False)
    torch.testing.assert_close(b.state_dict()[name], wanted[0].flatten(1).T)
    assert equal(metablock.build(spec[0], weights=plain(a)), plain(a))  # 15 offsets are no square


def test_neighbourhoods_are_not_interpolated() -> None:
    text = NET.replace(" >> position", "").replace("pos=relative_bias", "over=near(SIZE), pos=relative_bias")
    a, b = (load_text(text.replace("SIZE", size)) for size in ("[3, 5]", "[5, 3]"))
    assert NearBias((8, 8), heads=2, size=[3, 5]).weight.shape == NearBias((8, 8), heads=2, size=[5, 3]).weight.shape
    with pytest.raises(MetablockError, match="lies on 3x5, ours on 5x3"):
        metablock.build(b, weights=metablock.build(a).state_dict())


def test_a_table_whose_places_have_axes_of_their_own() -> None:
    edits = ["body = relu"]
    a = net(input="3x64x64", edits=edits)
    state = {**plain(a), "stem.position.weight": a.stem.position.weight.detach().reshape(1, 16, 16, 8)}
    b = net(input="3x32x128", edits=edits, weights=state)
    assert torch.equal(b.stem.position.weight, net(input="3x32x128", edits=edits, weights=a.state_dict()).stem.position.weight)


def test_what_a_checkpoint_says_of_its_grids_may_be_anything() -> None:
    state = net().state_dict()
    for entry in (
        None,
        3,
        [1],
        {"stem.position.weight": [[0, 4]]},
        {"stem.position.weight": [["a"]]},
        {"stem.position.weight": [[3, 5]]},
    ):
        state._metadata[""]["grids"] = entry
        assert equal(net(weights=state), plain(net()))


# The two ends


FIRST = "name: g\ninput: image(CHANNELS, 32)\nclasses: 5\nstem: conv(16, 4, stride=4)\nstages:\n  body: res(BODY)\nhead: HEAD\n"


def ends(channels: int = 3, body: str = "relu", head: str = "global_pool >> linear(classes)") -> metablock.Spec:
    return load_text(FIRST.replace("CHANNELS", str(channels)).replace("BODY", body).replace("HEAD", head))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("theirs", "ours"), [(4, 16), (2, 16), (16, 4), (1, 16)])
def test_only_kernels_that_read_the_input_are_adapted(channels: int, theirs: int, ours: int) -> None:
    a = metablock.build(ends(channels, f"conv(16, 3, groups={theirs})"))
    with pytest.raises(MetablockError, match=r"1 of another shape: stages\.0\.blocks\.0\.conv\.weight"):
        metablock.build(ends(channels, f"conv(16, 3, groups={ours})"), weights=a.state_dict())


def test_a_layer_between_the_input_and_its_kernel() -> None:
    text = FIRST.replace("stem: conv(16, 4, stride=4)", "stem: avg_pool(2) >> resize(16) >> conv(16, 4, stride=4)")
    spec = load_text(text.replace("CHANNELS", "3").replace("BODY", "relu").replace("HEAD", "global_pool >> linear(classes)"))
    a = metablock.build(spec)
    for channels, kernel in ((1, a.stem.conv.weight.sum(1, keepdim=True)), (6, a.stem.conv.weight.repeat(1, 2, 1, 1) / 2)):
        b = metablock.build(spec, input=(channels, 32, 32), weights=a.state_dict())
        torch.testing.assert_close(b.stem.conv.weight.detach(), kernel.detach())
        assert b.loaded.adapted == [f"stem.conv.weight (3 channels there, {channels} here)"]


def test_a_depthwise_kernel_on_the_input_is_not_adapted() -> None:
    text = FIRST.replace("conv(16, 4, stride=4)", "dw(3) >> conv(16, 4, stride=4)").replace("BODY", "relu")
    a, b = (load_text(text.replace("CHANNELS", c).replace("HEAD", "global_pool >> linear(classes)")) for c in "31")
    with pytest.raises(MetablockError, match=r"of another shape: stem\.dw\.weight"):
        metablock.build(b, weights=metablock.build(a).state_dict())


def test_only_the_last_layers_are_those_of_the_classes() -> None:
    """A hidden layer that happens to be as wide as there are classes is of another shape."""
    a = metablock.build(ends(head="global_pool >> linear(8) >> relu >> linear(classes)"))
    wide = ends(head="global_pool >> linear(5) >> relu >> linear(classes)")
    with pytest.raises(MetablockError, match=r"2 of another shape: head\.linear1\.weight .*, head\.linear1\.bias|3 of another"):
        metablock.build(wide, weights=a.state_dict())


@pytest.mark.parametrize(
    "head",
    [
        "conv(classes, 1) >> global_pool",
        "global_pool >> linear(classes) >> times(2)",
        "x ->\n  a = x >> global_pool >> linear(classes)\n  b = x >> global_pool >> linear(classes)\n  return (a + b) / 2",
    ],
)
def test_heads_of_other_classes(head: str) -> None:
    spec = ends(head="|\n  " + head if "->" in head else head)
    b = metablock.build(spec, classes=7, weights=metablock.build(spec, seed=1).state_dict())
    fresh = metablock.build(spec, classes=7).state_dict()
    assert b.loaded.initial and all(name.startswith("head.") for name in b.loaded.initial)
    assert all(torch.equal(b.state_dict()[name], fresh[name]) for name in b.loaded.initial)


def test_torchs_own_way_to_load_does_not_copy_a_table_to_another_grid() -> None:
    build = partial(metablock.build, "vit_tiny_patch16_224", classes=5, edits=["depth = 1"])
    model, state = build(input="3x32x128"), build(input="3x64x64").state_dict()
    with pytest.raises(RuntimeError, match=r"stem.position.weight lies on 4x4 there, on 2x8 here: metablock.build\(..., weights"):
        model.load_state_dict(state)
    model.load_state_dict(dict(state))  # what says nothing of its grids is torch's business
    model.load_state_dict(build(input="3x32x128").state_dict())
