"""The linear recurrence, outer and inner products: loops by hand, Mamba's reference, linear attention with decay."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metablock
from metablock.backend.block import Block
from metablock.backend.costs import macs
from metablock.errors import SpecError
from metablock.front import check
from metablock.language.load import load_file, load_text
from metablock.operators.recurrence import Recurrence, _doubling, _OneByOne, linear_recurrence
from metablock.writers.standalone import standalone
from oracles import randomised_state, relative_error, require

pytestmark = pytest.mark.usefixtures("float64")
EXAMPLE = Path(__file__).parents[2] / "examples" / "recurrent_mixer.yaml"


def build(model: str, entering: str = "signal(4, 7)") -> Block:
    net = metablock.build(load_text(f"name: tiny\ninput: {entering}\nmodel: |\n  {model}\n")).eval()
    randomised_state(net)
    return net


def one_by_one(gate: Tensor, value: Tensor, dim: int = 1) -> Tensor:
    state, states = torch.zeros_like(value.select(dim, 0)), []
    for a, b in zip(gate.expand_as(value).unbind(dim), value.unbind(dim), strict=True):
        state = a * state + b
        states.append(state)
    return torch.stack(states, dim)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_both_ways_to_compute_it(n: int, reverse: bool) -> None:
    gate, value = torch.rand(2, n, 3, requires_grad=True), torch.randn(2, n, 3, requires_grad=True)
    turned = [t.flip(1) if reverse else t for t in (gate, value)]
    expected = one_by_one(*turned).flip(1) if reverse else one_by_one(*turned)
    for compute in (linear_recurrence, _doubling, _OneByOne.apply):
        torch.testing.assert_close(compute(gate, value, reverse), expected)
        assert torch.autograd.gradcheck(lambda a, b: compute(a, b, reverse), (gate, value))  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda a, b: compute(a, b, reverse), (gate, value))  # noqa: B023


@pytest.mark.parametrize("compute", [_OneByOne.apply, _doubling])
def test_gates_of_nothing_and_long_sequences(compute: Any) -> None:
    """Closed and nearly closed gates, over so many positions that a product of them is 0."""
    gate, value = torch.rand(1, 3000, 2) ** 8, torch.randn(1, 3000, 2)
    gate[:, ::7] = 0
    gate[:, 5::11] = 1
    torch.testing.assert_close(compute(gate, value, False), one_by_one(gate, value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("compute", [linear_recurrence, torch.compile(linear_recurrence, backend="eager", fullgraph=True)])
def test_half_precision_sums_in_float32(dtype: torch.dtype, compute: Any) -> None:
    gate, value = torch.full((1, 2000, 1), 1.0, dtype=dtype), torch.full((1, 2000, 1), 1.0, dtype=dtype)
    result = compute(gate, value, False)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), torch.arange(1.0, 2001.0)[None, :, None].to(dtype).double())


MODELS = [
    ("recurrence(linear(4) >> sigmoid, linear(4))", "signal(4, 7)"),
    ('recurrence(linear(4) >> sigmoid, linear(4), over="columns")', "image(4, 3, 5)"),
    ('recurrence(linear(1) >> sigmoid, linear(4), over="rows", reverse=true)', "image(4, 3, 5)"),
]


@pytest.mark.parametrize(("model", "entering"), MODELS)
def test_over_an_axis(model: str, entering: str) -> None:
    net = build(model, entering)
    grid = [int(n) for n in entering[:-1].split(", ")[1:]]
    x = torch.randn(2, 4, *grid)
    tokens = x.movedim(1, -1)
    gate, value = net.linear1(tokens).sigmoid(), net.linear2(tokens)
    dim, reverse = (2 if "rows" in model else 1), "reverse" in model
    expected = one_by_one(gate.flip(dim), value.flip(dim), dim).flip(dim) if reverse else one_by_one(gate, value, dim)
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("model", ["recurrence(learned(1) >> sigmoid, id)", "recurrence(global_pool >> sigmoid, id)"])
@pytest.mark.parametrize("entering", ["signal(4, 7)", "image(4, 3, 5)"])
def test_a_gate_of_all_positions(model: str, entering: str) -> None:
    net = build(model.replace("id)", 'id, over="rows")'), entering)
    x = torch.randn(2, 4, *[int(n) for n in entering[:-1].split(", ")[1:]])
    gate = next(iter(net.parameters()))[0, 0].expand(2, 4) if "learned" in model else x.flatten(2).mean(2)
    tokens = x.movedim(1, -1)
    torch.testing.assert_close(net(x), one_by_one(gate.sigmoid()[(slice(None), *[None] * (x.dim() - 2))], tokens, -2))


def test_inside_windows() -> None:
    net, x = build("window(2, recurrence(sigmoid, id))", "image(3, 4, 6)"), torch.randn(2, 3, 4, 6)
    cut = x.unflatten(3, (3, 2)).unflatten(2, (2, 2)).permute(0, 2, 4, 3, 5, 1).flatten(3, 4)
    states = one_by_one(cut.sigmoid(), cut, 3).unflatten(3, (2, 2)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
    torch.testing.assert_close(net(x), states)


@pytest.mark.parametrize("entering", ["signal(4, 7)", "image(4, 3, 5)"])
@pytest.mark.parametrize("heads", [1, 2])
def test_outer_and_inner(entering: str, heads: int) -> None:
    net = build(f"inner(outer(linear(6), id, heads={heads}), linear(4), heads={heads})", entering)
    x = torch.randn(2, 4, *[int(n) for n in entering[:-1].split(", ")[1:]])
    tokens = x.movedim(1, -1)
    v, q = net.linear1(tokens).unflatten(-1, (heads, -1)), net.linear2(tokens).unflatten(-1, (heads, -1))
    k = tokens.unflatten(-1, (heads, -1))
    torch.testing.assert_close(net(x), (v * (k * q).sum(-1, keepdim=True)).flatten(-2))
    counted = macs(copy.deepcopy(net).to("meta"), x.to("meta"))[""]
    assert counted == 2 * tokens[0, ..., 0].numel() * (4 * 6 + 4 * 4 + 6 * 4 // heads)


@pytest.mark.parametrize("one", ["learned(1, 2)", "ones(1, 2)", "global_pool >> linear(2)"])
def test_outer_with_one_vector_for_all_positions(one: str) -> None:
    net, x = build(f"outer(id, {one})", "image(4, 3, 5)"), torch.randn(2, 4, 3, 5)
    result = net(x)
    assert result.shape == (2, 3, 5, 8)
    torch.testing.assert_close(result.unflatten(-1, (4, 2))[..., 0] * result[:, :1, :1, :1].sign().abs(), result[..., ::2])
    assert build(f"global_pool >> outer(id, {one.removeprefix('global_pool >> ')})").ir.output.feature.layout == "vector"


def test_linear_attention_with_decay() -> None:
    """RetNet's retention (arXiv 2307.08621, Eq. 5) with a decay a head; the same as its parallel form, Eq. 6 without groups."""
    text = """
name: tiny
input: signal(8, 9)
let:
  retention(heads): |
    q, k, v = linear(3 * c) >> chunk(3)
    decay = outer(learned(1, heads) >> sigmoid, ones(1, (c // heads) ** 2))
    h = recurrence(decay, outer(v, k, heads=heads))
    return inner(h, q, heads=heads)
model: retention(2)
"""
    net, x = metablock.build(load_text(text)), torch.randn(2, 8, 9)
    randomised_state(net)
    weights = dict(net.named_parameters())
    decay = next(p for name, p in weights.items() if "learned" in name).flatten().sigmoid()
    q, k, v = (x.mT @ weights[next(n for n in weights if n.endswith("linear.weight"))].T
               + weights[next(n for n in weights if n.endswith("linear.bias"))]).chunk(3, -1)  # fmt: skip
    q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (q, k, v))
    distance = torch.arange(9)[:, None] - torch.arange(9)
    mask = torch.where(distance >= 0, decay[:, None, None] ** distance.clamp(min=0), 0.0)
    torch.testing.assert_close(net(x), ((q @ k.mT * mask) @ v).transpose(1, 2).flatten(-2))


# Mamba


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: Tensor, bias: Tensor) -> Tensor:
    """``selective_scan_ref`` of mamba_ssm, with ``delta_softplus``: u, delta, z (b d n), a (d s), b, c (b s n), d, bias (d)."""
    delta = F.softplus(delta + bias[:, None])
    keep = torch.exp(torch.einsum("bdl,dn->bdln", delta, a))
    add = torch.einsum("bdl,bnl,bdl->bdln", delta, b, u)
    state, ys = torch.zeros(u.shape[0], *a.shape), []
    for i in range(u.shape[2]):
        state = keep[:, :, i] * state + add[:, :, i]
        ys.append(torch.einsum("bdn,bn->bd", state, c[:, :, i]))
    return (torch.stack(ys, 2) + u * d[:, None]) * F.silu(z)


def mamba(net: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """The example's mixer of its second stage and its weights, by Mamba's names."""
    token = net.stages[1].blocks[0].token
    return token, {
        "in_proj.weight": token.uz.linear.weight,
        "conv1d.weight": token.u.conv.weight,
        "conv1d.bias": token.u.conv.bias,
        "x_proj.weight": token.dkq.linear.weight,
        "dt_proj.weight": token.d.linear.weight,
        "dt_proj.bias": token.d.linear.bias,
        "A_log": token.a.learned.weight.reshape(64, 16),
        "D": token.y.scale.weight,
        "out_proj.weight": token.linear.weight,
    }


def example() -> Block:
    net = metablock.build(EXAMPLE, dtype=torch.float64).eval()
    randomised_state(net)
    return net


def test_mamba_is_its_reference() -> None:
    token, w = mamba(example())
    x = torch.randn(2, 8, 32)
    u, z = (x @ w["in_proj.weight"].T).mT.chunk(2, 1)
    u = F.silu(F.conv1d(u, w["conv1d.weight"], w["conv1d.bias"], padding=3, groups=64)[..., :8])
    delta, b, c = (u.mT @ w["x_proj.weight"].T).split([2, 16, 16], -1)
    y = selective_scan(
        u, (delta @ w["dt_proj.weight"].T).mT, -w["A_log"].exp(), b.mT, c.mT, w["D"], z, w["dt_proj.bias"]
    )  # fmt: skip
    assert relative_error(token(x), y.mT @ w["out_proj.weight"].T) < 1e-12


@pytest.mark.filterwarnings("ignore")
def test_mamba_is_that_of_transformers() -> None:
    modeling = require("transformers.models.mamba.modeling_mamba")
    config = modeling.MambaConfig(hidden_size=32, state_size=16, num_hidden_layers=1, expand=2, conv_kernel=4, time_step_rank=2)
    theirs = modeling.MambaMixer(config, layer_idx=0).double().eval()
    token, weights = mamba(example())
    theirs.load_state_dict(weights)
    x = torch.randn(2, 8, 32)
    with torch.no_grad():
        assert relative_error(token(x), theirs(x)) < 1e-6  # theirs has steps in float32


def test_products_of_mamba() -> None:
    net = metablock.build(EXAMPLE, device="meta")
    counted = macs(net, torch.empty(1, 8, 64, device="meta"))
    products = 32 * 128 + 64 * 4 * 11 / 8 + 64 * 34 + 2 * 64 + 64 * 16 + 64 * 32  # the convolution sees 3 positions more
    assert counted["stages.1.blocks.0.token"] == 8 * products


def test_the_example_against_torchs_gru() -> None:
    assert not check(load_file(EXAMPLE))
    net = example()
    token, x = net.stages[0].blocks[0].token, torch.randn(2, 16, 16)
    layer = nn.GRU(16, 16, batch_first=True)
    projection, step = token.linear, token.scan.step
    own = {"weight_ih_l0": projection.weight, "bias_ih_l0": projection.bias}
    [(_, u), (_, d)] = list(step.named_parameters())
    layer.load_state_dict(own | {"weight_hh_l0": u, "bias_hh_l0": d})
    assert relative_error(token(x), layer(x)[0]) < 1e-12


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_ways_out() -> None:
    torch._dynamo.reset()
    net, x = example(), torch.randn(2, 8, 64)
    expected = net(x)
    assert torch.equal(torch.fx.symbolic_trace(copy.deepcopy(net))(x), expected)
    space: dict[str, type[nn.Module]] = {}
    exec(standalone(net), space)
    written = space["Model"]().double().eval()
    written.load_state_dict(net.state_dict())
    assert torch.equal(written(x), expected)
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), expected)
    torch.testing.assert_close(metablock.compile(copy.deepcopy(net), backend="eager")(x), expected)


@pytest.mark.slow
def test_compiled_to_kernels() -> None:
    torch._dynamo.reset()
    gate, value = torch.rand(2, 37, 5, requires_grad=True), torch.randn(2, 37, 5, requires_grad=True)
    module = Recurrence(reverse=True)
    compiled = torch.compile(module, fullgraph=True)
    torch.testing.assert_close(compiled(gate, value), module(gate, value))
    for ours, theirs in zip(
        *[torch.autograd.grad(f(gate, value).square().sum(), (gate, value)) for f in (compiled, module)], strict=True
    ):
        torch.testing.assert_close(ours, theirs)


ERRORS = [
    ("recurrence(linear(3), id)", "the gate of a recurrence is tokens 7 x 3, its value map 4 x 7", "linear"),
    ("recurrence(first(3), id)", "the gate of a recurrence is", "as many positions"),
    ("global_pool >> recurrence(id, id)", "this is a vector of 4", "no extents"),
    ('recurrence(id, id, over="columns")', 'there is no "columns"', "from 0"),
    ("recurrence(none, id)", "'gate' of 'recurrence' cannot be `none`", "`id`"),
    ("outer(id, id, heads=3)", "3 heads of 4 channels", "divides"),
    ("outer(id, id, heads=0)", "0 heads of 4 channels", "divides"),
    ("outer(first(3), id)", "two shapes do not meet", "same extents"),
    ("inner(id, linear(3))", "matrices of 4 channels and vectors of 3", "divides"),
    ("inner(outer(id, id), id, heads=3)", "3 heads of 4 channels", "divides"),
]


@pytest.mark.parametrize(("model", "message", "hint"), ERRORS)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        build(model)
    assert all(problem.span is not None for problem in caught.value.problems)
    assert hint in str(caught.value)
