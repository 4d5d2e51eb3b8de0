"""Streams that declare modules and recipes, streams inside expressions, lists of shared modules: what is built how often."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.backend.compiler import distinct
from metablock.errors import SpecError
from metablock.language.check import check_names
from metablock.language.format import format_text, show_spec
from metablock.language.load import load_text

_X = torch.linspace(-1, 1, 2 * 4 * 8 * 8).view(2, 4, 8, 8)

BLOCK = """
name: s
input: image(4, 8)
classes: 3
let:
  norm: layer_norm
  block: |
    x ->
    shared f = norm >> linear(c)                       # one module for both directions
    let mix(k=3) = dw(k) >> relu
    down = x >> f >> mix
    up = x >> res(mix(5) >> f, drop=0)
    return down + up
  pair: |
    x ->
    shared fs = [linear(c), linear(c, bias=false)]
    return attention(2, q=fs[0], k=fs[1], v=fs[0] >> relu) + (fs[1] >> fs[0])
stages:
  depth: [2, 3]
  body:  depth * block >> pair
head: global_pool >> linear(classes)
"""


def network(text: str = BLOCK) -> nn.Module:
    return metablock.build(load_text(text, "s.yaml"), seed=1).eval()


def build(model: str, let: str = "", rest: str = "") -> nn.Module:
    lines = "\n".join(f"  {line}" for line in model.splitlines())
    text = f"name: s\ninput: image(4, 8)\n{rest}\n" + (f"let:\n{let}\n" if let else "") + f"model: |\n{lines}\n"
    return metablock.build(load_text(text, "s.yaml"), classes=3).eval()


def output(model: nn.Module, x: Tensor = _X) -> Tensor:
    with torch.no_grad():
        return model(x)


def names(model: nn.Module) -> list[str]:
    return [name.removesuffix(".weight") for name, _ in model.named_parameters() if name.endswith("weight")]


def by_hand(block: nn.Module, x: Tensor) -> Tensor:
    """The block of :data:`BLOCK`, from its modules."""

    def f(x: Tensor) -> Tensor:
        return block.f.linear(block.f.norm(x))

    def depthwise(conv: nn.Module, x: Tensor) -> Tensor:
        return conv(x.movedim(-1, 1)).relu().movedim(1, -1)

    x = x.movedim(1, -1)
    return (depthwise(block.down.mix.dw, f(x)) + x + f(depthwise(block.up.mix.dw, x))).movedim(-1, 1)


def test_a_block_has_its_own_shared_modules() -> None:
    model = network()
    for stage, depth in enumerate([2, 3]):
        for number in range(depth):
            block = model.stages[stage].blocks[number]
            assert names(block) == ["f.norm", "f.linear", "down.mix.dw", "up.mix.dw"]
            entering = model.ir.child(("stages", str(stage), "blocks", str(number))).inputs[0]
            out = block(_X if entering.feature.layout == "map" else _X.movedim(1, -1))
            out = out if out.shape == _X.shape else out.movedim(-1, 1)
            torch.testing.assert_close(out, by_hand(block, _X))
    assert names(model.stages[0].blocks[2]) == ["fs.0", "fs.1", "attention.proj"]


@pytest.mark.parametrize("way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_has_shared_modules_of_its_own(way) -> None:
    model = network()
    other = way(model)
    assert list(other.state_dict()) == list(model.state_dict())
    before = output(model)
    torch.testing.assert_close(output(other), before)
    for block in (other.stages[1].blocks[0], other.stages[0].blocks[2]):
        holder, name = (block, "f") if hasattr(block, "f") else (block.fs, "1")
        setattr(holder, name, nn.Identity()) if name == "f" else holder.__setitem__(1, nn.Identity())
    changed = output(other)
    assert not torch.allclose(changed, before)
    torch.testing.assert_close(output(model), before)
    torch.testing.assert_close(output(way(other)), changed)


def test_copies_of_a_block_share_their_code_and_their_graph() -> None:
    model = network()
    assert len({type(block) for block in list(model.stages[1].blocks)[1:3]}) == 1
    assert len({block.source for stage in model.stages for block in list(stage.blocks)[1:-1]}) == 1
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    before = output(model)
    compiled = metablock.compile(model, way="regions", backend=backend)
    torch.testing.assert_close(output(compiled, _X.contiguous(memory_format=torch.channels_last)), before)
    assert len(graphs) == distinct(model) == 4


def test_it_survives_the_ways_out(tmp_path: Path) -> None:
    model = network()
    before = output(model)
    torch.testing.assert_close(output(metablock.reparameterize(network())), before, rtol=1e-4, atol=1e-5)
    maps = output(metablock.features(network()))
    assert [tuple(m.shape) for m in maps] == [(2, 4, 8, 8)]
    metablock.write(model, tmp_path / "net.py")
    spec = importlib.util.spec_from_file_location("net", tmp_path / "net.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.Model().eval()
    written.load_state_dict(model.state_dict())
    torch.testing.assert_close(output(written), before)
    traced = torch.fx.symbolic_trace(model)
    torch.testing.assert_close(output(traced), before)
    metablock.write(model, tmp_path / "net.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(_X[:1]), before[:1])


def test_texts_come_back() -> None:
    spec = load_text(BLOCK)
    assert load_text(show_spec(spec)) == spec
    text = format_text(BLOCK)
    assert "shared f = norm >> linear(c)" in text and "# one module for both directions" in text
    assert format_text(text) == text and load_text(text) == spec


def test_edits_reach_what_a_line_uses() -> None:
    model = metablock.build(load_text(BLOCK), edits=["norm = group_norm(2)", "stages[1].block = res(mlp(2))"])
    assert type(model.stages[0].blocks[0].f.norm).__name__ == "GroupNorm"
    assert not hasattr(model.stages[1].blocks[0], "f")


def test_weight_rules_name_them() -> None:
    text = BLOCK + "weights:\n  theirs:\n    stages.{s}.blocks.{b}.f.*: layer.{s}.{b}.shared.*\n    '*': '*'\n"
    model = network()
    state = {
        re.sub(r"stages\.(\d)\.blocks\.(\d)\.f\.", r"layer.\1.\2.shared.", name): value + 1
        for name, value in model.state_dict().items()
    }
    loaded = metablock.build(load_text(text), weights=state)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value + 1)


# Streams inside expressions, and what "once" means


@pytest.mark.parametrize(
    ("model", "let", "parts"),
    [
        ("res(norm >> (y = dw(3) return y * y), drop=0)", "  norm: layer_norm", ["norm", "y"]),
        ("conv(6) >> (u -> u * (u >> conv(c)))", "", ["conv1", "conv2"]),
        ("twice(dw(3))", "  twice(a): a * a", ["twice.a1", "twice.a2"]),
        ("once(dw(3))", "  once(a): (y = a return y * y)", ["once.y"]),
        ("once(once(dw(3)))", "  once(a): (y = a return y * y)", ["once.y.y"]),
        ("x ->\nu = x >> pw(c)\nreturn once(u)", "  once(a): (y = a return y * y)", ["u"]),
        ("mean((shared f = pw(c) return f >> f), (shared f = pw(c) return f))", "", ["f1", "f2"]),
        ("concat(*[(shared f = pw(c) return f >> f) for i in range(2)])", "", ["f.0", "f.1"]),
        ("x ->\nshared f = pw(c)\nreturn [x, x >> relu] >> each((a -> a >> f >> f)) >> (a, b -> a + b)", "", ["f"]),
        ("x ->\nlet f = pw(c)\nreturn x >> f >> f", "", ["f1", "f2"]),
        ("x ->\nlet f(a) = a >> a\nreturn x >> f(pw(c))", "", ["f.a1", "f.a2"]),
        ("x ->\nlet n = 2 * c\nreturn pw(n) >> pw(n)", "", ["pw1", "pw2"]),
        ("x ->\nshared f = pw(c)\nlet g(a=f) = a >> relu >> a\nreturn g >> f", "", ["f"]),
        ("x ->\nshared f = pw(c)\nshared g = f\nreturn x >> f >> (relu >> g >> pw(c))", "", ["f", "pw"]),
        ("x ->\nu = dw(3)\nshared f = pw(c) * u\nreturn f >> relu >> f", "", ["u", "f.pw"]),
        ("x ->\nshared fs = [pw(c) for i in range(3)]\nreturn x >> fs[2] >> mean(*fs[:2])", "", ["fs.0", "fs.1", "fs.2"]),
        ("x ->\nshared fs = [pw(c), none]\nreturn (x >> fs[0]) + fs[1]", "", ["fs.0"]),
        ("x ->\nshared = x >> pw(c)\nlet = shared >> relu\nreturn shared + let", "", ["shared"]),
    ],
)  # fmt: skip
def test_what_is_built(model: str, let: str, parts: list[str]) -> None:
    built = build(model, let)
    assert names(built) == parts
    assert torch.isfinite(output(built)).all()


def test_a_wire_is_computed_once_and_an_argument_at_each_use() -> None:
    once = build("once(dw(3))", "  once(a): (y = a return y * y)")
    torch.testing.assert_close(output(once), once.once.y(_X) ** 2)
    twice = build("twice(dw(3))", "  twice(a): a * a")
    torch.testing.assert_close(output(twice), twice.twice.a1(_X) * twice.twice.a2(_X))


def test_c_of_a_stream_is_the_width_that_enters_it() -> None:
    model = build("conv(6) >> (u -> u * (u >> conv(c)))")
    assert model.conv2.weight.shape[:2] == (6, 6)
    y = model.conv1(_X)
    torch.testing.assert_close(output(model), y * model.conv2(y))


ALIKE = "x ->\nshared f = (a, b -> (a * b) >> pw(c))\ny = [x, x] >> f\nreturn [y, x] >> f"


@pytest.mark.parametrize(
    ("model", "let", "rest"),
    [
        (ALIKE, "", ""),
        ("x ->\ny = [x, x] >> f\nreturn [y, x] >> f", "", "shared: {f: 'a, b -> (a * b) >> pw(c)'}"),
        ("x ->\ny = [x, x] >> stem\nreturn [y, x] >> stem", "", "stem: a, b -> (a * b) >> pw(c)"),
        ("x ->\nys = [x, x] >> f\nreturn [ys, [ys, x] >> f] >> (a, b -> b)", "", "shared: {f: 'a, b -> (a * b) >> pw(c)'}"),
        ("x ->\nshared f = (a -> (a * x) >> pw(c))\nreturn x >> f >> f", "", ""),
        ("x ->\nys = [x, x >> mid] >> each(g(x))\nreturn ys[1]", "  g(x): a -> (a * x) >> mid", "shared: {mid: pw(c)}"),
    ],
)  # fmt: skip
def test_uses_on_one_value_twice_and_on_two(model: str, let: str, rest: str) -> None:
    """What is built once may get the same value in two places in one use, and two values in another."""
    built = build(model, let, rest)
    (name,) = names(built)
    pw = built.get_submodule(name)
    expected = pw(pw(_X) * _X) if let else pw(pw(_X * _X) * _X)
    torch.testing.assert_close(output(built), expected)
    torch.testing.assert_close(output(copy.deepcopy(built)), expected)


def test_self_attention_then_cross_attention_by_one_module() -> None:
    model = build("x ->\nshared f = (q, k -> q >> attention(2, over=k))\ny = x >> linear(c)\nz = [y, y] >> f\nreturn [z, y] >> f")
    y = model.y(_X.movedim(1, -1))
    torch.testing.assert_close(output(model), model.f(model.f(y, y), y))


def test_shared_modules_in_the_network_s_stream_and_a_stage() -> None:
    model = build("x ->\nshared f = conv(c) >> relu\ny = x >> layer_norm >> f\nreturn y >> f")
    assert names(model) == ["f.conv", "y.layer_norm"]
    f, norm = lambda x: model.f.conv(x).relu(), model.y.layer_norm
    torch.testing.assert_close(output(model), f(f(norm(_X.movedim(1, -1)).movedim(-1, 1))))
    stage = network(
        "name: s\ninput: image(4, 8)\nstages:\n  depth: [2]\n  body: |\n    shared f = pw(c) >> relu\n    y = f\n"
        "    z = y >> depth * res(f >> dw(3), drop=0)\n    return y + z\nhead: global_pool"
    )
    s = stage.stages[0]
    y = z = s.f.pw(_X).relu()
    for copy_ in s.z.repeat:
        z = z + copy_.dw(s.f.pw(z).relu())
    torch.testing.assert_close(output(stage), (y + z).mean((2, 3)))


def test_shared_lists_are_indexed() -> None:
    model = build("x -> x >> convs[1] >> convs[0] >> convs[1]", rest="shared: {convs: '[conv(c), conv(c, 3)]'}")
    assert names(model) == ["shared.convs.0", "shared.convs.1"]
    a, b = model.shared.convs
    torch.testing.assert_close(output(model), b(a(b(_X))))
    inside = build(
        "x -> x >> (layer_norm >> each_of) >> convs[0]",
        let="  each_of: sum([id >> f for f in convs])",
        rest="shared: {convs: '[conv(c, 2 * i + 1) for i in range(3)]'}",
    )
    for other in (inside, copy.deepcopy(inside), pickle.loads(pickle.dumps(inside))):
        y = other.layer_norm(_X.movedim(1, -1)).movedim(-1, 1)
        torch.testing.assert_close(output(other), other.shared.convs[0](sum(f(y) for f in other.shared.convs)))
    members = build("x ->\nys = [x, x] >> each(convs[1])\nreturn ys[0] + ys[1]", rest="shared: {convs: '[conv(c), conv(c, 3)]'}")
    assert names(members) == ["shared.convs.1"]


def test_a_shared_list_of_a_stage() -> None:
    model = network(
        "name: s\ninput: image(4, 8)\nstages:\n  dim: [4, 6]\n  down: pw(dim)\n  body: '2 * (fs[0] >> res(norm >> fs[1], drop=0))'\n"
        "  shared:\n    fs: [pw(dim), dw(3)]\nlet: {norm: layer_norm}\nhead: global_pool"
    )
    for stage in model.stages:
        assert names(stage) == ["down", "shared.fs.0", "shared.fs.1", "blocks.0.norm", "blocks.1.norm"]
    assert torch.isfinite(output(model)).all()


@pytest.mark.parametrize(
    ("model", "rest", "message"),
    [
        ("x ->\nshared f = conv(c)\nreturn f >> conv(5) >> f", "", "built once is used on two shapes"),
        ("x ->\nshared f = conv(c)\nreturn x", "", "the shared module 'f' is never used"),
        ("x ->\nlet f = conv(c)\nreturn x", "", "the recipe 'f' is never used"),
        ("x ->\nshared f = conv(c)\nf = x >> relu\nreturn f", "", "the shared module 'f' is never used"),
        ("x ->\ny = x >> (shared f = pw(c) return f >> f)\nreturn y >> f", "", "unknown name 'f'"),
        ("x ->\ny = x >> f\nshared f = pw(c)\nreturn y >> f", "", "unknown name 'f'"),
        ("x ->\nlet f(a) = conv(a)\nreturn f", "", "'f' needs the argument 'a'"),
        ("x ->\nlet f(a) = conv(a)\nreturn f(1, 2)", "", "'f' takes 1 argument"),
        ("x ->\nlet f = f >> relu\nreturn f", "", "unknown name 'f'"),
        ("x ->\nshared f = pw(c)\nreturn f(3)", "", "'f' takes no arguments"),
        ("x ->\nlet c = 3\nreturn conv(c)", "", "is a word of the language"),
        ("x ->\nshared fs = [pw(c), 3]\nreturn fs[0]", "", "a member that is no module"),
        ("x ->\nshared fs = [pw(c)]\nreturn fs[1]", "", "there is no entry 1 in a list of 1"),
        ("x -> (x >> fs)[0] + (x >> fs[0])", "shared: {fs: [pw(c), pw(c)]}", "as a whole and by its members"),
        ("x -> (x >> fs[0]) + (x >> fs)[0]", "shared: {fs: [pw(c), pw(c)]}", "as a whole and by its members"),
        ("3 * (x -> shared f = conv(c, 2 * index + 1) return [x, x] >> each((a -> a >> f))) >> (a, b -> a + b)", "", "one value is needed|takes one value"),
    ],
)  # fmt: skip
def test_mistakes(model: str, rest: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as problem:
        build(model, rest=rest)
    assert all(each.span is not None for each in problem.value.problems)


def test_what_would_compute_two_things() -> None:
    let = "  norm: layer_norm"
    with pytest.raises(SpecError, match=r"would compute two things|two shapes"):
        build("x ->\nshared f = dw(2 * index + 1)\nreturn x >> 2 * (norm >> f)", let)


def test_an_absent_chain_takes_its_shared_modules_along() -> None:
    model = build("x ->\nshared f = pw(c)\nreturn (x >> f >> (y -> y + relu >> none)) + (x >> dw(3))")
    assert names(model) == ["dw"]


def test_names_are_checked_inside() -> None:
    text = "name: s\ninput: image(4, 8)\nmodel: res(layer_nrm >> (y = dwi(3) return y * y * z))\n"
    said = [problem.message for problem in check_names(load_text(text))]
    assert said == ["unknown name 'layer_nrm'", "unknown operator 'dwi'", "unknown name 'z'"]


def test_a_name_with_a_layer_s_place() -> None:
    model = build("x ->\nshared half = pw(c)\nreturn x >> half >> relu >> half")
    assert names(model) == ["half_"]
