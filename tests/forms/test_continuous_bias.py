"""Position biases that a module makes from log-spaced distances."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.backend.costs import macs
from metablock.language.load import load_text
from oracles import randomised_state, require

pytestmark = pytest.mark.usefixtures("float64")
INPUTS = {1: "signal", 2: "image", 3: "volume"}
POOLS = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
PLAIN = "q=id, k=id, v=id, proj=id"


def build(model: str, grid: tuple[int, ...] = (5, 4)) -> nn.Module:
    """A network of one expression."""
    size = ", ".join(map(str, (8, *grid)))
    return metablock.build(load_text(f"name: tiny\ninput: {INPUTS[len(grid)]}({size})\nmodel: {model}\n")).eval()


def middles(grid: tuple[int, ...], pooled: tuple[int, ...]) -> Tensor:
    """Where the tokens of a pooled grid stand on the unpooled one."""
    places = torch.stack(torch.meshgrid(*(torch.arange(float(g)) for g in grid), indexing="ij"))
    return POOLS[len(grid)](places, pooled).flatten(1).T


@pytest.mark.parametrize("extent", [None, 9])
@pytest.mark.parametrize(
    ("grid", "pooled"), [((7,), (7,)), ((7,), (3,)), ((5, 4), (5, 4)), ((6, 5), (3, 2)), ((3, 4, 2), (2, 2, 1))]
)
def test_pair_by_pair(grid: tuple[int, ...], pooled: tuple[int, ...], extent: int | None) -> None:
    """Also where the bins of the pooling overlap: 7 to 3, 5 to 2."""
    extra = "" if extent is None else f", {extent}"
    by = "linear(6) >> relu >> linear(2)"
    model = build(f"attention(2, over=adaptive_avg_pool({list(pooled)}), {PLAIN}, pos=continuous_bias({by}{extra}))", grid)
    state = {name.removeprefix("attention.pos.by."): p for name, p in randomised_state(model).items()}
    bias = model.attention.pos.table(model.attention.pos.by(model.attention.pos.distances()))
    queries, keys = middles(grid, grid), middles(grid, pooled)
    extents = torch.tensor([float(extent or g) for g in grid])
    for (i, q), (j, k) in itertools.product(enumerate(queries), enumerate(keys)):
        d = (q - k) * 8 / (extents - 1)
        x = d.sign() * (d.abs() + 1).log2() / 3
        entry = F.linear(
            F.linear(x, state["linear1.weight"], state["linear1.bias"]).relu(), state["linear2.weight"], state["linear2.bias"]
        )
        torch.testing.assert_close(bias[:, i, j], entry)
    x = torch.randn(2, 8, *grid)
    t, p = (m.flatten(2).unflatten(1, (2, 4)).mT for m in (x, POOLS[len(grid)](x, pooled)))
    expected = (t @ p.mT / 2 + bias).softmax(-1) @ p
    torch.testing.assert_close(model(x).flatten(1, -2), expected.transpose(1, 2).flatten(2))


def test_the_module_sees_each_distance_once() -> None:
    model = build("attention(2, over=adaptive_avg_pool(4), pos=continuous_bias(linear(16) >> relu >> linear(2)))", (16, 8)).to(
        "meta"
    )
    counted = macs(model, torch.empty(1, 8, 16, 8, device="meta"))
    steps = {q - (4 * k + 1.5) for q in range(16) for k in range(4)}, {q - (2 * k + 0.5) for q in range(8) for k in range(4)}
    assert counted["attention.pos.by"] == len(steps[0]) * len(steps[1]) * (2 * 16 + 16 * 2)


@pytest.mark.parametrize("trained", [(0, 0), (3, 3)])
def test_swin_v2(trained: tuple[int, int]) -> None:
    """timm's, with the sigmoid that TransNeXt leaves out."""
    theirs = require("timm.models.swin_transformer_v2").WindowAttention(8, (4, 5), 2, pretrained_window_size=trained)
    state = randomised_state(theirs.double().eval())
    extra = "" if trained == (0, 0) else ", 3"
    by = f"continuous_bias(linear(512) >> relu >> linear(2, bias=false) >> sigmoid >> times(16){extra})"
    temperature = "scale=knob(1)"
    model = build(f"window([4, 5], attention(2, qk_norm=l2norm, pos={by}, {temperature}), shift=1)", (8, 10))
    pos = model.attention.pos
    for ours, name in ((pos.by.linear1, "cpb_mlp.0"), (pos.by.linear2, "cpb_mlp.2")):
        ours.weight.data = state[f"{name}.weight"]
    pos.by.linear1.bias.data = state["cpb_mlp.0.bias"]
    table = 16 * torch.sigmoid(theirs.cpb_mlp(theirs.relative_coords_table)).view(-1, 2)
    expected = table[theirs.relative_position_index.view(-1)].view(20, 20, 2).permute(2, 0, 1)
    torch.testing.assert_close(pos.table(pos.by(pos.distances())), expected, rtol=1e-6, atol=1e-6)  # their table is float32
    assert model(torch.randn(2, 8, 8, 10)).isfinite().all()


def test_without_an_extent() -> None:
    """Equation 4 as it is printed: a logarithm of the distance in tokens."""
    model = build(f"attention(2, {PLAIN}, pos=continuous_bias(linear(2), normalise=false))", (3, 2))
    rows, columns = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]), torch.tensor([-1.0, 0.0, 1.0])
    expected = torch.cartesian_prod(*(d.sign() * (1 + d.abs()).log() for d in (rows, columns)))
    torch.testing.assert_close(model.attention.pos.distances()[0], expected.double())


def test_an_axis_of_one_token() -> None:
    model = build(f"attention(2, {PLAIN}, pos=continuous_bias(linear(2)))", (1, 3))
    assert model.attention.pos.distances()[..., 0].eq(0).all()
    assert model(torch.randn(1, 8, 1, 3)).isfinite().all()


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        (
            "attention(2, pos=continuous_bias(linear(3)))",
            "`by=` gives tokens 63 x 3, the biases are tokens 63 x 2",
            "linear(heads)",
        ),
        ("attention(2, over=near(3), pos=continuous_bias(linear(2)))", "is not for neighbours", "relative_bias"),
        (
            "class_token >> attention(2, pos=continuous_bias(linear(2)))",
            "needs queries and keys on grids",
            "without prefix tokens",
        ),
        ("attention(2, over=learned(3), pos=continuous_bias(linear(2)))", "needs queries and keys on grids", "that have a grid"),
        ("attention(2, pos=continuous_bias(linear(2), 0))", "an extent of 0 on 2 axes", "one number from 1"),
        ("attention(2, pos=continuous_bias(linear(2), [3]))", "an extent of [3] on 2 axes", "one an axis"),
        ("attention(2, pos=continuous_bias(linear(2), 3, normalise=false))", "an extent normalises", "leave out `extent=`"),
        ("attention(2, pos=continuous_bias(none))", "cannot be `none`", "`id` passes on"),
        ("continuous_bias(linear(2))", "`continuous_bias` is not inside an attention", "attention(heads, pos=continuous_bias)"),
    ],
)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(metablock.MetablockError) as caught:
        build(model)
    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("<spec>:3:")
    assert message in first
    assert hint in last
