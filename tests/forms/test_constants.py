"""Constants of positions: those of the papers and of timm, for any size and precision, without parameters or buffers."""

from __future__ import annotations

import copy
import io
import math
import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.errors import MetablockError
from metablock.language.load import load_text
from metablock.writers.outputs import write
from oracles import relative_error, require

INPUTS = {1: "signal", 2: "image", 3: "volume"}


def build(model: str, grid: tuple[int, ...] = (5, 7), c: int = 6, dtype: torch.dtype = torch.float64) -> nn.Module:
    size = ", ".join(map(str, (c, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n"), dtype=dtype).eval()


def constant(model: str, grid: tuple[int, ...] = (5, 7), c: int = 6) -> Tensor:
    """What an expression gives for an input, channels last; the same for another one."""
    network = build(model, grid, c)
    assert not network.state_dict() and not list(network.buffers())
    first, second = network(torch.randn(2, c, *grid, dtype=torch.float64))
    assert torch.equal(first, second)
    return first if str(network.ir.output.feature).startswith("tokens") else first.movedim(0, -1)


# References, in float64


def mae(h: int, w: int, dim: int) -> Tensor:
    """``get_2d_sincos_pos_embed`` of MAE's code."""

    def one(places: Tensor) -> Tensor:
        omega = 1 / 10000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
        angles = places.reshape(-1)[:, None] * omega
        return torch.cat([angles.sin(), angles.cos()], 1)

    x, y = torch.meshgrid(torch.arange(w, dtype=torch.float64), torch.arange(h, dtype=torch.float64), indexing="xy")
    return torch.cat([one(x), one(y)], 1)


def detr(h: int, w: int, dim: int, normalize: bool) -> Tensor:
    """``PositionEmbeddingSine`` of DETR's code, on a mask that hides nothing."""
    mask = torch.ones(1, h, w, dtype=torch.float64)
    y, x = mask.cumsum(1), mask.cumsum(2)
    if normalize:
        y = y / (y[:, -1:, :] + 1e-6) * 2 * math.pi
        x = x / (x[:, :, -1:] + 1e-6) * 2 * math.pi
    number = torch.arange(dim // 2, dtype=torch.float64)
    divisors = 10000 ** (2 * (number // 2) / (dim // 2))
    x, y = x[..., None] / divisors, y[..., None] / divisors
    x = torch.stack((x[..., 0::2].sin(), x[..., 1::2].cos()), 4).flatten(3)
    y = torch.stack((y[..., 0::2].sin(), y[..., 1::2].cos()), 4).flatten(3)
    return torch.cat((y, x), 3)[0].flatten(0, 1)


def vaswani(n: int, dim: int) -> Tensor:
    table = torch.zeros(n, dim, dtype=torch.float64)
    for place in range(n):
        for i in range(0, dim, 2):
            table[place, i] = math.sin(place / 10000 ** (i / dim))
            table[place, i + 1] = math.cos(place / 10000 ** (i / dim))
    return table


def big_vision(h: int, w: int, dim: int) -> Tensor:
    """``posemb_sincos_2d`` of big_vision's code."""
    y, x = torch.meshgrid(torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64), indexing="ij")
    omega = 1 / 10000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim // 4 - 1))
    y, x = y.flatten()[:, None] * omega, x.flatten()[:, None] * omega
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], 1)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sine(24, reverse=true)", mae(5, 7, 24)),
        ('sine(24, order="axis band wave", start=1)', detr(5, 7, 24, False)),
        ('sine(24, order="axis band wave", start=1, normalize=true)', detr(5, 7, 24, True)),
        ("sine(24, 10000 ** (6 / 5), reverse=true)", big_vision(5, 7, 24)),
    ],
    ids=["MAE", "DETR", "DETR, normalised", "big_vision"],
)
def test_papers(expression: str, expected: Tensor) -> None:
    torch.testing.assert_close(constant(expression).flatten(0, 1), expected, rtol=1e-12, atol=1e-12)


def test_a_sequence() -> None:
    torch.testing.assert_close(constant('sine(8, order="axis band wave")', (9,)), vaswani(9, 8), rtol=1e-12, atol=1e-12)
    text = "name: s\ninput: image(6, 2, 3)\nmodel: |\n  x ->\n  return join(x, x, prefix=0) >> sine(8)\n"
    assert metablock.build(load_text(text))(torch.zeros(1, 6, 2, 3)).shape == (1, 12, 8)


def test_timms_tables() -> None:
    """timm computes in float32."""
    layers = require("timm.layers.pos_embed_sincos")
    for interleave, order in ((False, "wave axis band"), (True, "axis wave band")):
        table = layers.build_sincos2d_pos_embed([5, 7], 24, temperature=100.0, interleave_sin_cos=interleave)
        assert relative_error(constant(f'sine(24, 100, order="{order}")').flatten(0, 1), table) < 1e-6
    sin, cos = layers.build_fourier_pos_embed([5, 7], num_bands=6, in_pixels=False)
    expected = torch.cat([sin.flatten(2), cos.flatten(2)], -1)
    assert relative_error(constant('sine(24, order="wave axis band")'), expected) < 1e-6
    for linear, spacing in ((True, "linear"), (False, "log")):
        sin, cos = layers.build_fourier_pos_embed([5, 7], num_bands=6, max_res=32, linear_bands=linear)
        expected = torch.stack([sin, cos], -3).flatten(2)  # wave, axis, band
        ours = constant(f'fourier(24, 32, spacing="{spacing}", order="wave axis band")')
        assert relative_error(ours, expected) < 1e-5
    x = torch.randn(2, 6, 5, 7)
    expected = layers.FourierEmbed(max_res=32, num_bands=6)(x)
    ours = build('id || coordinates("signed") || fourier(24, 32)', dtype=torch.float32)(x).flatten(2).mT
    assert relative_error(ours, expected) < 1e-5


def test_xcit() -> None:
    """timm's positional encoding, and the convolution behind it."""
    theirs = require("timm.models.xcit").PositionalEncodingFourier(hidden_dim=8, dim=6)
    ours = build('sine(16, order="axis band wave", start=1, normalize=true) >> conv(6)', dtype=torch.float32)
    ours.conv.load_state_dict(theirs.token_projection.state_dict())
    assert relative_error(ours(torch.zeros(2, 6, 5, 7)), theirs(2, 5, 7)) < 1e-5


def test_coordinates() -> None:
    lines = {
        "index": lambda n: torch.arange(n, dtype=torch.float64),
        "unit": lambda n: torch.linspace(0, 1, n, dtype=torch.float64),
        "signed": lambda n: torch.linspace(-1, 1, n, dtype=torch.float64),
        "centers": lambda n: (torch.arange(n, dtype=torch.float64) + 0.5) / n,
        "signed_centers": lambda n: (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1,
    }
    for grid in ((4,), (5, 7), (2, 3, 4), (1, 3)):
        for kind, line in lines.items():
            expected = torch.stack(torch.meshgrid(*map(line, grid), indexing="ij"), -1)
            torch.testing.assert_close(constant(f'coordinates("{kind}")', grid), expected, rtol=1e-14, atol=1e-14)
    assert torch.equal(constant("coordinates"), constant('coordinates("index")'))


def test_the_width_that_arrives() -> None:
    """Also behind a change of width, where `c` is another one."""
    x = torch.randn(1, 6, 5, 7, dtype=torch.float64)
    for name in ("sine", "fourier"):
        ours = build(f"(id || id) >> id + {name}")(x)
        torch.testing.assert_close(ours, torch.cat([x, x], 1) + constant(f"{name}(12)").movedim(-1, 0))


def test_three_dimensions() -> None:
    """Each axis has its share, and varies along it alone."""
    table = constant("sine(12)", (2, 3, 4))
    assert table.shape == (2, 3, 4, 12)
    for axis in range(3):
        share = table[..., 4 * axis : 4 * axis + 4]
        for other in {0, 1, 2} - {axis}:
            assert torch.equal(share, share.roll(1, other))
        assert not torch.equal(share, share.roll(1, axis))


@pytest.mark.parametrize("expression", ["coordinates", "sine(8)", "fourier(8)"])
def test_prefix_tokens_get_zeros(expression: str) -> None:
    bare = constant(expression)
    table = build(f"join(zeros(2), id) >> {expression}")(torch.randn(1, 6, 5, 7, dtype=torch.float64))[0]
    assert not table[:2].any()
    assert torch.equal(table[2:], bare.flatten(0, 1))
    x = torch.randn(1, 6, 5, 7, dtype=torch.float64)
    added = build(f"conv(8) >> class_token >> id + ({expression} >> linear(8, bias=false))")
    with torch.no_grad():
        plain = added.class_token(added.conv(x))
        assert torch.equal(added(x)[:, :1], plain[:, :1])


@pytest.mark.parametrize("expression", ["id + sine(8)", 'id + fourier(8, spacing="log")', 'id || coordinates("centers")'])
class TestWays:
    """What every constant has to survive."""

    def network(self, expression: str, dtype: torch.dtype = torch.float32) -> nn.Module:
        return build(f"conv(8, 3) >> ({expression})", dtype=dtype)

    def test_other_sizes(self, expression: str) -> None:
        model = self.network(expression)
        x = torch.randn(2, 6, 9, 4)
        other = build(f"conv(8, 3) >> ({expression})", (9, 4), dtype=torch.float32)
        other.load_state_dict(model.state_dict())
        assert torch.equal(model(x), other(x))

    def test_half_precision(self, expression: str) -> None:
        """Computed in float32 and rounded once: as good as rounding the table."""
        table = expression.partition(" ")[2].strip("+| ")
        network = build(table, (40, 300), dtype=torch.float32)
        exact = network(torch.zeros(1, 6, 40, 300))
        for dtype in (torch.float16, torch.bfloat16):
            rounded = copy.deepcopy(network).to(dtype)(torch.zeros(1, 6, 40, 300, dtype=dtype))
            assert rounded.dtype == dtype and torch.equal(rounded, exact.to(dtype))

    def test_meta_compile_trace(self, expression: str) -> None:
        model, x = self.network(expression), torch.randn(2, 6, 5, 7)
        assert copy.deepcopy(model).to("meta")(x.to("meta")).shape == model(x).shape
        torch._dynamo.reset()
        assert torch.equal(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))
        traced = torch.fx.symbolic_trace(model)
        assert torch.equal(traced(x), model(x))

    def test_files(self, expression: str, tmp_path: Path) -> None:
        """Exported programs compute the constant for sizes that are left open."""
        model, x = self.network(expression), torch.randn(3, 6, 8, 9)
        program = metablock.export(model, dynamic=["batch", "height", "width"]).module()
        torch.testing.assert_close(program(x), model(x))


def test_standalone_and_onnx(tmp_path: Path) -> None:
    model = build("conv(8, 3) >> id + sine(8) >> attention(2, rotary=axial) >> global_pool", dtype=torch.float32)
    for suffix in ("py", "onnx"):
        if suffix == "onnx":
            require("onnxruntime")
        write(model, tmp_path / f"m.{suffix}")
    other = runpy.run_path(str(tmp_path / "m.py"))["Model"]().eval()
    other.load_state_dict(model.state_dict())
    x = torch.randn(1, 6, 5, 7)
    assert torch.equal(other(x), model(x))


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("sine(6)", "`sine` of 6 channels", "a multiple of 4: a sine and a cosine an axis; `sine(4) >> linear(6)` has any width"),
        (
            "fourier(0)",
            "`fourier` of 0 channels",
            "a multiple of 4: a sine and a cosine an axis; `fourier(4) >> linear(1)` has any",
        ),
        ('sine(8, order="wave band")', 'unknown order "wave band"', "did you mean 'wave band axis'?"),
        ('fourier(8, spacing="log2")', 'unknown spacing "log2"', "did you mean 'log'?"),
        ('coordinates("pixels")', 'unknown kind "pixels"', 'known: "index", "unit", "signed", "centers", "signed_centers"'),
        ("global_pool >> sine(8)", "`sine` needs positions, this is vector of 6", "use it before `global_pool`"),
        ("sine(8, 0)", "`temperature` of 'sine' is 0", "write a number from 1"),
        ("fourier(8, 1)", "`resolution` of 'fourier' is 1", "write a number from 2"),
    ],
)
def test_errors(expression: str, message: str, hint: str) -> None:
    with pytest.raises(MetablockError) as caught:
        build(expression)
    assert message in str(caught.value) and hint in str(caught.value)
    assert "<spec>:3:" in str(caught.value)


def table_of(
    rule: str, model: str = "position", grid: tuple[int, ...] = (4, 6), c: int = 8, parameter: str = "position"
) -> Tensor:
    size = ", ".join(map(str, (c, *grid)))
    text = f"name: t\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\ninit:\n  {parameter}: {rule}\n"
    (weight,) = [p for name, p in metablock.build(load_text(text)).named_parameters() if parameter in name]
    return weight.detach().double()


def test_the_same_as_an_initial_table() -> None:
    def sine(text: str) -> Tensor:
        return constant(text, (4, 6)).flatten(0, -2)

    torch.testing.assert_close(table_of("sine")[0], sine("sine(8)"), rtol=0, atol=1e-6)
    rule = 'sine(100, order="axis band wave", start=1, normalize=true, reverse=true)'
    torch.testing.assert_close(table_of(rule)[0], sine(rule.replace("sine(", "sine(8, ")), rtol=0, atol=1e-6)
    table = table_of("sine", "join(learned(2), id) >> position")[0]
    assert not table[:2].any()
    torch.testing.assert_close(table[2:], sine("sine(8)"), rtol=0, atol=1e-6)
    tokens = table_of('sine(order="axis band wave")', "learned(9)", parameter="learned")[0]
    torch.testing.assert_close(tokens, vaswani(9, 8), rtol=0, atol=1e-6)
    assert torch.equal(tokens, table_of("sinusoid", "learned(9)", parameter="learned")[0])
    assert table_of("sinusoid", "learned(9)", c=7, parameter="learned").shape == (1, 9, 7)


@pytest.mark.parametrize(
    ("rule", "model", "message"),
    [
        ("sine", "linear(6) >> position", "`sine` of 6 channels"),
        ("sine", "attention(2, pos=relative_bias)", "`sine` initialises a table of positions"),
        (
            "rope_mixed(8)",
            "attention(1, over=id, head_dim=6, rotary=coordinates >> linear(3, bias=false))",
            "`rope_mixed(8)` for weights of shape",
        ),
    ],
)
def test_initial_tables_that_do_not_fit(rule: str, model: str, message: str) -> None:
    parameter = {"sine": "position", "rope_mixed(8)": "rotary.linear"}[rule] if "relative" not in model else "table.weight"
    with pytest.raises(MetablockError, match=message.replace("(", r"\(").replace(")", r"\)")):
        metablock.build(load_text(f"name: t\ninput: image(8, 4, 6)\nmodel: {model}\ninit: {{{parameter}: {rule}}}\n"))


def test_it_pickles() -> None:
    model, file = build("id + sine(6)", (4,)), io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    x = torch.randn(1, 6, 4, dtype=torch.float64)
    assert torch.equal(torch.load(file, weights_only=False)(x), model(x))
