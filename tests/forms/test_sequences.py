"""Grids that are dropped and given back, the sequences in between, and what messages say of the operator that dropped one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.backend.input_size import asks_for_extents
from metablock.language.load import load_text
from metablock.language.registry import OPERATORS
from metablock.lowering.example import shape_of
from metablock.shape import Feature

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
# The operators of the first release. A number of a file that is called like one of them is a mistake; like a later one, it stays.
FIRST = """adaptive_avg_pool adaptive_max_pool agent_bias argsort attention avg_pool batch_norm cascade chunk continuous_bias conv deconv
    deform_conv deformable dilated drop_path dropout each elu first flatten frozen gelu global_pool grn group_norm hard_sigmoid
    hard_swish join keys_seen knob l2norm layer_norm learned linear log max_pool mean merge mixture_conv near ones pair_bias patches
    position prefix quick_gelu random_features relative_bias relu relu6 reorder res resize rest restore routed scale shuffle sigmoid
    silu softmax softplus split spread star_relu std_conv steps take tanh times transposed unfold unused upsample window windows
    zeros"""


def build(model: str, grid: tuple[int, ...] = (4, 6), rest: str = "", c: int = 8) -> nn.Module:
    size = ", ".join(map(str, (c, *grid)))
    lines = "".join(f"  {line.strip()}\n" for line in model.split(";"))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\n{rest}model: |\n{lines}")).eval()


def row_conv(x: Tensor, model: nn.Module) -> Tensor:
    """The network's one convolution over the tokens in a row."""
    weight, bias = model.state_dict().values()
    return F.conv1d(x.flatten(2), weight, bias, padding=1, groups=x.shape[1])


@pytest.mark.parametrize("grid", [(24,), (4, 6), (2, 4, 3)], ids=str)
@pytest.mark.parametrize(
    "drop", ["tokens", "first(24)", "rest(0)", "join(id, prefix=0)", "spread(1)", "reorder(linear(1) >> argsort)"]
)
def test_a_dropped_grid_is_gone(drop: str, grid: tuple[int, ...]) -> None:
    """A convolution behind it is one-dimensional, although all tokens are there."""
    model = build(f"x -> x >> {drop} >> dw(3)", grid)
    x = torch.randn(2, 8, *grid)
    assert model(x).shape == (2, 8, 24)
    if "argsort" not in drop:
        torch.testing.assert_close(model(x), row_conv(x, model))


@pytest.mark.parametrize("back", ["grid(4, 6)", "grid([4, 6])", "grid(x.grid)", "grid(grid)", "grid(grid[0], 6)"])
def test_a_grid_is_given_back(back: str) -> None:
    model = build(f"x ->; y = x >> tokens >> dw(3); return y >> {back}")
    x = torch.randn(2, 8, 4, 6)
    torch.testing.assert_close(model(x), row_conv(x, model).mT.unflatten(1, (4, 6)))


def test_another_grid() -> None:
    """Tokens row by row, on two, three and one axes."""
    x = torch.randn(2, 8, 4, 6)
    for extents in ((3, 8), (2, 3, 4), (24,)):
        y = build(f"grid({', '.join(map(str, extents))})")(x)
        torch.testing.assert_close(y, x.flatten(2).mT.unflatten(1, extents))
    assert shape_of("grid(3, 8) >> max_pool(2, stride=2)", "8x4x6") == "map 8 x 1x4"


def test_prefix_tokens_stay_before_both() -> None:
    model = build(
        "x ->; y = x >> class_token >> tokens; z = y >> grid(3, 8); return y, z, z >> patches, y >> patches, y >> prefix"
    )
    y, z, grid, row, token = model(torch.randn(2, 8, 4, 6))
    assert (y.shape, grid.shape, row.shape, token.shape) == ((2, 25, 8), (2, 3, 8, 8), (2, 24, 8), (2, 1, 8))
    assert torch.equal(y, z)


def test_in_windows_each_has_its_own() -> None:
    x = torch.randn(2, 8, 4, 6)
    plain = build("windows(2) >> grid(2, 2) >> merge")
    assert torch.equal(plain(x), x.movedim(1, -1))
    model = build("window(2, tokens >> dw(3) >> grid(2, 2))")
    whole = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # b, c, the windows, the tokens of each
    y = torch.stack([torch.stack([row_conv(whole[:, :, i, j], model) for j in range(3)], 2) for i in range(2)], 2)
    torch.testing.assert_close(model(x), y.unflatten(4, (2, 2)).transpose(3, 4).flatten(4).flatten(2, 3).movedim(1, -1))


def test_in_streams_and_shared_modules() -> None:
    """One convolution on two sequences of one length; one that needs two kernels is refused."""
    rest = "shared:\n  mix: conv(c, 3)\n"
    model = build("x ->; y = x >> tokens >> mix; z = x >> first(12) >> mix; return y, z", rest=rest)
    y, z = model(torch.randn(2, 8, 4, 6))
    assert (y.shape, z.shape) == ((2, 8, 24), (2, 8, 12))
    with pytest.raises(metablock.MetablockError, match="used on two shapes that do not fit it"):
        build("x ->; y = x >> tokens >> mix; z = x >> mix; return y, z", rest=rest)


def test_own_names_win() -> None:
    """A binding, a number, a wire, a parameter called `tokens`; `grid` stays a word."""
    assert list(build("tokens >> relu", rest="let: {tokens: conv(4)}\n").state_dict()) == ["tokens.weight", "tokens.bias"]
    assert build("conv(tokens)", rest="let: {tokens: 5}\n")(torch.zeros(1, 8, 4, 6)).shape == (1, 5, 4, 6)
    assert build("x ->; tokens = x >> conv(4); return tokens")(torch.zeros(1, 8, 4, 6)).shape == (1, 4, 4, 6)
    assert build("f(3)", rest="let:\n  f(tokens): conv(tokens)\n")(torch.zeros(1, 8, 4, 6)).shape == (1, 3, 4, 6)
    assert build("conv(grid[0])")(torch.zeros(1, 8, 4, 6)).shape == (1, 4, 4, 6)
    with pytest.raises(metablock.MetablockError, match="'grid' is a word of the language"):
        build("conv(4)", rest="let: {grid: 5}\n")


def test_numbers_may_have_the_names_of_later_operators() -> None:
    """Files of the first release bind them: each operator that came after it is marked `later` in the registry."""
    assert {name for name, operator in OPERATORS.items() if operator.declared is None and not operator.later} == {*FIRST.split()}


def test_only_the_word_asks_for_the_extents_of_the_input() -> None:
    text = "name: n\ninput: image(8, 4, 6)\nmodel: {}\n"
    assert not asks_for_extents(load_text(text.format("x -> x >> tokens >> grid(x.grid)")))
    assert asks_for_extents(load_text(text.format("tokens >> grid(grid)")))


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("id + learned(24, 8)", "two shapes do not meet: map 8 x 4x6 and tokens 24 x 8",
         "`learned(24, 8)` at line 4 has no grid: `>> grid(4, 6)` gives it one"),
        ("x ->; y = x >> first(24); return x || y", "map 8 x 4x6 and tokens 24 x 8 cannot be concatenated",
         "`first(24)` at line 5 dropped the grid: `>> grid(4, 6)` gives it one"),
        ("id * spread(2)", "two shapes do not meet: map 8 x 4x6 and tokens 48 x 4",
         "`spread(2)` at line 4 dropped the grid, and 48 tokens in a row have no place on the other's 4x6"),
        ("global_pool >> linear(8) >> relu >> conv(8, 3)", "a map is needed here, this is a vector of 8",
         "a vector has no extents: `global_pool` at line 4 dropped the grid"),
        ("class_token >> take(0) >> position", "a grid of tokens is needed here, this is a vector of 8",
         "a vector has no extents: `take(0)` at line 4 dropped the grid"),
        ("tokens >> conv(8, [3, 3])", "2 numbers for 1 spatial dimensions",
         "one number, or one per axis; `tokens` at line 4 dropped the grid"),
        ("tokens >> window([2, 2], id)", "a window of [2, 2] on 1 axis",
         "one number from 1, or one an axis; `tokens` at line 4 dropped the grid"),
        ("windows(2) >> tokens >> merge", "2x3 windows of tokens 4 x 8 cannot be merged",
         "what is in a window must keep its number of axes; `tokens` at line 4 dropped the grid"),
        ("tokens >> grid(4, 6) >> global_pool >> dw(3)", "a map is needed here, this is a vector of 8",
         "a vector has no extents: `global_pool` at line 4 dropped the grid"),
        ("grid(5, 5)", "a grid of 5x5 has 25 places, 24 tokens arrive", "the product of the extents is the number of tokens"),
        ("class_token >> grid(5, 5)", "a grid of 5x5 has 25 places, 24 tokens arrive besides 1 prefix token(s)", None),
        ("grid(dw(3), 6)", "an extent of `grid` is a whole number from 1", "write `grid(14, 14)`, or the extents of a wire: `grid(x.grid)`"),
        ("grid(-4, -6)", "an extent of `grid` is a whole number from 1", None),
        ("grid(2, 2, 2, 3)", "a grid of 4 axes", None),
        ("linear(1) >> argsort >> tokens", "a sequence of tokens is needed here, this is an order of 24 tokens", None),
    ],
)  # fmt: skip
def test_mistakes(model: str, message: str, hint: str | None) -> None:
    with pytest.raises(metablock.SpecError) as caught:
        build(model)
    [problem] = caught.value.problems
    assert problem.message == message and problem.span is not None
    if hint is not None:
        assert problem.hint == hint


def test_what_dropped_a_grid_is_no_part_of_a_shape() -> None:
    a, b = Feature("tokens", 8, (4,), ungridded="x"), Feature("tokens", 8, (4,))
    assert a == b and hash(a) == hash(b)
