"""Scans: a stream with a state at every position of a sequence, against loops by hand and torch's recurrent layers."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

import metablock
from metablock.backend.block import Block
from metablock.backend.compiler import distinct
from metablock.backend.costs import macs
from metablock.errors import SpecError
from metablock.language.load import load_text
from metablock.writers.standalone import standalone
from oracles import randomised_state

pytestmark = pytest.mark.usefixtures("float64")

# The streams that the models below name.
STREAMS = {
    "gru_cell": """|
    x, h ->
    r, z, g = x >> chunk(3)
    ur, uz, ug = h >> linear(3 * h.c) >> chunk(3)
    r = (r + ur) >> sigmoid
    z = (z + uz) >> sigmoid
    g = (g + r * ug) >> tanh
    return (1 - z) * g + z * h
""",
    "lstm_cell": """|
    x, h, s ->
    i, f, g, o = (x + (h >> linear(4 * h.c))) >> chunk(4)
    s = (f >> sigmoid) * s + (i >> sigmoid) * (g >> tanh)
    h = (o >> sigmoid) * (s >> tanh)
    return h, s
""",
    "add": "x, h -> x + h",
    "mix": "x, h -> (x || h) >> linear(c) >> tanh",
    "plain": "x, h -> (x || h) >> linear(c)",
    "walk": "x, a, b -> [x + a, a + b, b]",
    "gated": "x, gate, h -> x + gate * h",
    "around(g)": "x, h -> x + h * g",
    "wider": "x, h -> [x, h >> linear(9)]",
    "narrower": "x, a, b -> [x, a, b >> linear(2)]",
    "four": "x, h -> [x, h, h, h]",
    "alone": "x -> x",
    "tokens": "x, h -> [x, x >> learned(2)]",
    "by_cell": "x, h -> (x + h) >> cell",
}


def streams(text: str) -> str:
    """The `let:` of the streams that a text names."""
    lines = [f"  {name}: {stream}" for name, stream in STREAMS.items() if re.search(rf"\b{name.split('(')[0]}\b", text)]
    return "\n".join(["let:", *lines, ""]) if lines else ""


def build(model: str, entering: str = "signal(3, 7)") -> Block:
    text = f"model: |\n  {model}\n"
    net = metablock.build(load_text(f"name: tiny\ninput: {entering}\n{streams(text)}{text}")).eval()
    randomised_state(net)
    return net


def weights(net: nn.Module) -> list[Tensor]:
    return list(net.parameters())


def set_up(layer: nn.Module, net: nn.Module) -> nn.Module:
    """A recurrent layer of torch with the weights of a projection and of a cell."""
    w, b, u, d = weights(net)
    layer.load_state_dict({"weight_ih_l0": w, "weight_hh_l0": u, "bias_ih_l0": b, "bias_hh_l0": d})
    return layer


@pytest.mark.parametrize("reverse", [False, True])
def test_a_gru(reverse: bool) -> None:
    net = build(f"linear(15) >> scan(gru_cell, start=5, reverse={str(reverse).lower()})")
    layer, x = set_up(nn.GRU(3, 5, batch_first=True), net), torch.randn(2, 3, 7)
    sequence = x.mT.flip(1) if reverse else x.mT
    expected = layer(sequence)[0]
    torch.testing.assert_close(net(x), expected.flip(1) if reverse else expected)


def test_an_lstm_has_two_states() -> None:
    net = build("linear(20) >> scan(lstm_cell, start=[5, 5])")
    layer, x = set_up(nn.LSTM(3, 5, batch_first=True), net), torch.randn(2, 3, 7)
    torch.testing.assert_close(net(x), layer(x.mT)[0])


def test_gradients_are_torchs() -> None:
    net = build("linear(20) >> scan(lstm_cell, start=[5, 5])")
    layer, x = set_up(nn.LSTM(3, 5, batch_first=True), net), torch.randn(2, 3, 7)
    ours = torch.autograd.grad(net(x).square().sum(), weights(net))
    theirs = torch.autograd.grad(layer(x.mT)[0].square().sum(), [p for _, p in sorted(layer.named_parameters())])
    by_name = dict(zip(sorted(name for name, _ in layer.named_parameters()), theirs, strict=True))
    for one, name in zip(ours, ["weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0"], strict=True):
        torch.testing.assert_close(one, by_name[name])


@pytest.mark.parametrize(("over", "rank"), [("rows", 2), ("columns", 2), ("0", 3), ("1", 3), ("2", 3), ('"rows"', 3)])
def test_over_an_axis(over: str, rank: int) -> None:
    """Each line along the axis is a sequence of its own: a sum along it."""
    over = over if over[0] in '"012' else f'"{over}"'
    grid = (4, 5, 6)[:rank]
    kind = {2: "image", 3: "volume"}[rank]
    net = build(f"scan(add, over={over})", f"{kind}(2, {', '.join(map(str, grid))})")
    axis = {'"rows"': rank - 1, '"columns"': rank - 2}.get(over) if over[0] == '"' else int(over)
    assert axis is not None
    x = torch.randn(3, 2, *grid)
    torch.testing.assert_close(net(x), x.cumsum(2 + axis).movedim(1, -1))
    torch.testing.assert_close(net(x[..., :3]), x[..., :3].cumsum(2 + axis).movedim(1, -1))  # good for any size


def test_all_tokens_in_a_row() -> None:
    net, x = build("scan(add)", "image(2, 3, 4)"), torch.randn(2, 2, 3, 4)
    torch.testing.assert_close(net(x).flatten(1, 2), x.flatten(2).mT.cumsum(1))


def test_prefix_tokens_come_first() -> None:
    net, x = build("join(learned(1), id) >> scan(add)", "image(2, 3, 4)"), torch.randn(2, 2, 3, 4)
    tokens = torch.cat([weights(net)[0].expand(2, -1, -1), x.flatten(2).mT], 1)
    torch.testing.assert_close(net(x), tokens.cumsum(1))


def test_a_start_that_is_learned_or_computed() -> None:
    x = torch.randn(2, 3, 7)
    net = build("scan(add, start=learned(1))")
    torch.testing.assert_close(net(x), x.mT.cumsum(1) + weights(net)[0])
    net = build("scan(walk, start=[zeros(1), global_pool])")
    expected, state = [], torch.zeros(2, 3)
    for position in x.unbind(-1):
        expected.append(position + state)
        state = state + x.mean(-1)
    torch.testing.assert_close(net(x), torch.stack(expected, 1))
    image = torch.randn(2, 3, 4, 5)
    net = build('scan(add, start=learned(1), over="rows")', "image(3, 4, 5)")
    torch.testing.assert_close(net(image), image.cumsum(-1).movedim(1, -1) + weights(net)[0][:, None])


def test_a_list_runs_along_together() -> None:
    net, x = build("[linear(3), silu] >> scan(gated)"), torch.randn(2, 3, 7)
    values, gates = net.linear(x.mT), nn.functional.silu(x.mT)
    state, expected = torch.zeros(2, 3), []
    for value, gate in zip(values.unbind(1), gates.unbind(1), strict=True):
        state = value + gate * state
        expected.append(state)
    torch.testing.assert_close(net(x), torch.stack(expected, 1))


def test_a_wire_around_is_the_same_at_every_position() -> None:
    stream = 'g = global_pool\n  return id >> scan(around(g), over="rows")'
    net, x = build(stream, "image(3, 4, 5)"), torch.randn(2, 3, 4, 5)
    state, expected = torch.zeros(2, 3, 4), []
    for column in x.unbind(-1):
        state = column + state * x.mean((2, 3))[..., None]
        expected.append(state)
    torch.testing.assert_close(net(x), torch.stack(expected, -1).movedim(1, -1))


def test_inside_windows() -> None:
    net, x = build("window(2, scan(add))", "image(3, 4, 6)"), torch.randn(2, 3, 4, 6)
    cut = x.unflatten(3, (3, 2)).unflatten(2, (2, 2)).permute(0, 2, 4, 3, 5, 1).flatten(3, 4).cumsum(3)
    torch.testing.assert_close(net(x), cut.unflatten(3, (2, 2)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2))


def test_one_module_list_and_one_set_of_weights_whatever_the_length() -> None:
    short, long = (build("2 * scan(mix)", f"signal(3, {n})") for n in (5, 50))
    assert len(list(short.modules())) == len(list(long.modules())) < 12
    names = ["scans.0.step.linear.weight", "scans.0.step.linear.bias", "scans.1.step.linear.weight", "scans.1.step.linear.bias"]
    assert [name for name, _ in long.named_parameters()] == names
    assert long.scans[0].source.count("\n") < 8
    counted = macs(copy.deepcopy(long).to("meta"), torch.empty(2, 3, 50, device="meta"))
    assert counted[""] == 2 * 2 * 50 * 6 * 3
    assert counted["scans.0.step.linear"] == 2 * 50 * 6 * 3


def test_shared_modules_and_one_module_for_each_member() -> None:
    text = f"name: n\ninput: signal(3, 7)\n{streams('plain')}shared:\n  cell: scan(plain)\nmodel: cell >> cell\n"
    net, x = metablock.build(load_text(text)), torch.randn(2, 3, 7)
    assert len(weights(net)) == 2
    w, b = weights(net)
    value = x.mT
    for _ in range(2):
        state, outputs = torch.zeros(2, 3), []
        for position in value.unbind(1):
            state = torch.cat([position, state], -1) @ w.T + b
            outputs.append(state)
        value = torch.stack(outputs, 1)
    torch.testing.assert_close(net(x), value)
    both = build("x -> sum([x, x] >> each(scan(plain)))")
    assert len(weights(both)) == 2
    text = f"name: n\ninput: signal(3, 7)\n{streams('by_cell')}shared:\n  cell: linear(c)\nmodel: scan(by_cell) >> cell\n"
    net = metablock.build(load_text(text))
    assert len(weights(net)) == 2
    assert net(x).shape == (2, 7, 3)


def network(kind: str) -> str:
    return (
        f"name: n\ninput: image(3, 8)\nclasses: 4\n{streams(kind) or 'let:'}\n  token: {kind}\nstem: conv(6, 2, stride=2)\n"
        + (
            "stages:\n  depth: 3\n  body: depth * (res(layer_norm >> token) >> res(layer_norm >> mlp(2)))\n"
            "head: global_pool >> linear(classes)\n"
        )
    )


KINDS = ['scan(mix, over="rows")', 'lstm(c, over="columns")', "gru(c)"]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_compiled_by_parts(kind: str, training: bool) -> None:
    """The step is one graph whatever the length and the number of blocks; the kernels of recurrent layers stay outside."""
    torch._dynamo.reset()
    net = metablock.build(load_text(network(kind)))
    randomised_state(net)
    eager, x, counter = copy.deepcopy(net), torch.randn(2, 3, 8, 8), CompileCounter()
    for model in (net, eager):
        model.train(training)
    compiled = metablock.compile(net, backend=counter)
    with torch.set_grad_enabled(training):
        torch.testing.assert_close(compiled(x), eager(x))
    scanned = "scan" in kind
    assert distinct(eager) == (3 if scanned else 2)  # mlp, head; step
    assert counter.frame_count == 1 + distinct(eager) + (
        scanned and training
    )  # the stem is an operator; the state that starts as zeros has no gradient


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_single_graph_unrolls() -> None:
    torch._dynamo.reset()
    net, counter = metablock.build(load_text(network(KINDS[0]))).eval(), CompileCounter()
    x = torch.randn(2, 3, 8, 8)
    expected = net(x)
    torch.testing.assert_close(metablock.compile(net, way="whole", backend=counter)(x), expected)
    assert counter.frame_count == 1
    with pytest.raises(metablock.MetablockError, match=r"no graph for an lstm or gru(.|\n)*by regions"):
        metablock.compile(metablock.build(load_text(network(KINDS[1]))), way="whole")


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # torch's export, of the list in which nn.LSTM keeps its weights
@pytest.mark.parametrize("kind", KINDS)
def test_traced_copied_written(kind: str) -> None:
    net = metablock.build(load_text(network(kind))).eval()
    randomised_state(net)
    x = torch.randn(2, 3, 8, 8)
    traced = torch.fx.symbolic_trace(copy.deepcopy(net))
    assert torch.equal(traced(x), net(x))
    space: dict[str, type[nn.Module]] = {}
    exec(standalone(net), space)
    written = space["Model"]().double().eval()
    written.load_state_dict(net.state_dict())
    assert torch.equal(written(x), net(x))
    assert torch.equal(copy.deepcopy(net)(x), net(x))
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), net(x))


def test_features_and_merging_pass_loops_by() -> None:
    net = metablock.build(load_text(network(KINDS[0])), input=(3, 16, 16)).eval()
    x = torch.randn(1, 3, 16, 16)
    assert metablock.features(net)(x)[-1].shape == (1, 6, 8, 8)
    merged = metablock.reparameterize(copy.deepcopy(net))
    torch.testing.assert_close(merged(x), net(x))


ERRORS = [
    ("scan(wider)", "the state is a vector of 3 before the step and a vector of 9 behind it", "linear"),
    ("scan(narrower, start=[3, 4])", "state 1 is a vector of 4 before the step and a vector of 2", "`st"),
    ("scan(four)", r"the step returns 4 value\(s\)", "an output and the new state: `x, h ->"),
    ("scan(alone, start=[])", "a scan without a state", "token alone"),
    ("scan(tokens, start=learned(1))", "the step returns tokens 2 x 3", "is a vector"),
    ("scan(add, start=learned(2))", "a state starts as tokens 2 x 3", "one vector"),
    ("scan(add, start=0)", "a state of 0 channels", "at least 1"),
    ('scan(add, over="lines")', 'unknown axis "lines"', '"rows", "columns"'),
    ("scan(add, over=1)", "there is no axis 1 on 1 axis", "from 0"),
    ('gru(3, over="columns")', 'there is no "columns" on 1 axis', "from 0"),
    ("lstm(0)", "a state of 0 channels", "at least 1"),
    ("global_pool >> scan(add)", "this is a vector of 3", "no extents"),
    ("[id, first(2)] >> scan(gated)", "sequences of 7 and 2 positions", "as long"),
    ("scan(none)", "'step' of 'scan' cannot be `none`", "`id`"),
]


@pytest.mark.parametrize(("model", "message", "hint"), ERRORS)
def test_errors(model: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        build(model)
    assert all(problem.span is not None and problem.hint for problem in caught.value.problems)
    assert hint in str(caught.value)
