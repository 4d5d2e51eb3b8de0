"""Lowering: the context, layouts as rules on shapes, `layers` counted from the text, one pass a build."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cases import SPECS
from torch import nn

import metablock
from metablock.errors import SpecError
from metablock.front import front
from metablock.language import check
from metablock.language.edits import resolve
from metablock.language.load import load_text
from metablock.lowering import network
from metablock.lowering.context import ContextStack
from metablock.lowering.emitter import Emitter
from metablock.lowering.ir import module_nodes
from metablock.lowering.layouts import casts
from metablock.lowering.network import NetworkLowering
from metablock.shape import Feature


def spec(body: str, **sections: str):
    lines = {"input": "image(3, 16)", "classes": "5", **sections}
    text = "".join(f"{name}: {value}\n" for name, value in lines.items())
    return load_text(f"name: s\n{text}stages:\n  depth: [2, 3]\n  dim: [4, 8]\n  body: {body}\n", "s.yaml")


# Layers


@pytest.mark.parametrize(
    ("stem", "count"),
    [
        ("conv(layers)", lambda stem: stem.weight.shape[0]),
        ("layers * conv(c, 3)", lambda stem: len(stem.convs)),
        ("conv([1, 2, 3, 4, 5, 6, 7][layers - 1])", lambda stem: stem.weight.shape[0]),
        ("sum([conv(2, 2 * i + 1) for i in range(layers)])", lambda stem: len(list(stem.conv))),
    ],
)
def test_layers_is_the_number_of_blocks_wherever_it_is_asked_for(stem: str, count: Callable[[nn.Module], int]):
    model = metablock.build(spec("conv(dim) >> depth * res(conv(c, 3))", stem=stem))
    assert count(model.stem) == sum(len(stage.blocks) for stage in model.stages) == 7


def test_layers_in_a_body_that_is_a_stream():
    body = """|
    x -> y = conv(dim) >> depth * res(conv(c, 3) >> times(layers))
    z = y >> 2 * relu
    return y + z"""
    file = spec(body)
    lowered = NetworkLowering(resolve(file))
    root = lowered.run(None)
    assert lowered.layers.known == lowered.context.now.blocks.layer == 2 + 2 + 3 + 2
    assert {node.args["factor"] for _, node in module_nodes(root) if node.operator == "times"} == {9}


@pytest.mark.parametrize("name", sorted(SPECS))
def test_the_count_from_the_text_is_the_number_of_blocks_that_are_emitted(name: str):
    variant = next(iter(SPECS[name].variants), None)
    lowered = NetworkLowering(resolve(SPECS[name], variant))
    lowered.run(None)
    assert lowered.layers.total() == (lowered.context.now.blocks.layer if lowered.evaluate.stages else 0)


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("layers * conv(dim)", "the number of blocks depends on `layers`, which is this number", "write the number itself"),
        (
            "(c // 3) * (conv(dim) >> times([1, 2, 3][layers - 1]))",
            "there is no width `c` here",
            "`layers` counts the blocks before shapes are known: repeat by numbers that need no width and no wire",
        ),
    ],
)
def test_layers_that_cannot_be_counted(body: str, message: str, hint: str):
    with pytest.raises(SpecError) as caught:
        front(spec(body.replace("dim)", "dim + 0 * depth)")))
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == (message, hint) and problem.span is not None


@pytest.mark.parametrize(
    ("body", "rates"),
    [
        ("(c // 4) * r", [0.0, 0.5]),
        ("|\n    a = linear(c)\n    b = (a.c // 4) * r\n    return b", [0.0, 0.5]),
        ("|\n    a = linear(c)\n    n = a.c // 4\n    b = n * r\n    return b", [0.0, 0.5]),
        ("|\n    a = id\n    return (a >> 2 * r) if a.c == 8 else (a >> 3 * r)", [0.0, 0.5]),
        ("x -> x >> split(2 * r, parts=2)", [0.0, 1 / 6, 1 / 3, 0.5]),
        ("|\n    return cascade(2 * r, parts=2)", [0.0, 1 / 6, 1 / 3, 0.5]),
        ("|\n    a = id\n    return sum([a >> 2 * r for i in range(2)])", [0.0, 1 / 6, 1 / 3, 0.5]),
    ],
)
def test_layers_where_only_shapes_tell_the_number_of_blocks(body: str, rates: list[float]):
    let = "{r: 'res(linear(c), drop=ramp(0.5))'}"
    text = f"name: t\ninput: image(3, 16)\nlet: {let}\nstem: conv(8, 2, stride=2)\nstages:\n  body: {body}\n"
    root = front(load_text(text, "t.yaml")).ir
    nodes = [node for _, node in module_nodes(root) if node.operator == "drop_path"]
    assert [node.args["rate"] for node in nodes] == pytest.approx(rates)


def test_a_network_without_stages_has_no_layers():
    root = front(load_text("name: t\ninput: image(3, 8)\nmodel: conv(4) >> dropout(layers / 4) >> global_pool\n")).ir
    assert [node.args["rate"] for _, node in module_nodes(root) if node.operator == "dropout"] == [0]


# Modules that are built once


def twice(result: str) -> str:
    stream = f"|\n    x ->\n    a = x >> conv(c, 1)\n    b = x >> conv(c, 3)\n    return {result}"
    return f"name: t\ninput: image(4, 8)\nshared:\n  f: {stream}\nstages:\n  depth: 2\n  body: depth * f\n"


@pytest.mark.parametrize("result", ["a - b if index == 0 else b - a", "a if index == 0 else b"])
def test_a_shared_module_that_would_compute_two_things(result: str):
    with pytest.raises(SpecError) as caught:
        front(load_text(twice(result), "t.yaml"))
    (problem,) = caught.value.problems
    assert problem.message == "a module that is built once would compute two things" and problem.span is not None


def test_a_shared_module_that_computes_one_thing():
    assert str(front(load_text(twice("a - b"), "t.yaml")).ir.output.feature) == "map 4 x 8x8"


# One pass


@pytest.mark.parametrize("source", ["swin_tiny", "poolformer_s12", "file"])
def test_a_build_checks_names_once_and_lowers_once(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path):
    count = {"check": 0, "lower": 0}
    run, lower = check._Checker.run, network.NetworkLowering.run

    def checking(self, *args):
        count["check"] += 1
        return run(self, *args)

    def lowering(self, *args):
        count["lower"] += 1
        return lower(self, *args)

    monkeypatch.setattr(check._Checker, "run", checking)
    monkeypatch.setattr(network.NetworkLowering, "run", lowering)
    if source == "file":
        source = str(tmp_path / "net.yaml")
        (tmp_path / "net.yaml").write_text(
            "name: net\ninput: image(3, 8)\nstages:\n  depth: 2\n  drop: ramp(0.1)\n  body: depth * res(conv(c))\n"
        )
    metablock.build(source, device="meta", edits="drop = ramp(0.2)")
    assert count == {"check": 1, "lower": 1}


# Context


def test_a_context_is_restored_however_its_block_ends():
    stack = ContextStack()
    before = stack.now

    def fail() -> None:
        with stack.push(part=3, trainable=False):
            assert (stack.now.part, stack.now.trainable) == (3, False)
            with stack.push(part=4):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert stack.now is before
    with pytest.raises(AttributeError):
        before.part = 1  # type: ignore[misc]


# Layouts


@pytest.mark.parametrize(
    ("feature", "wanted", "templates"),
    [
        (Feature("map", 4, (2, 3)), ("map", "grid"), []),
        (Feature("map", 4, (2, 3)), ("grid",), ["{0}.movedim(1, -1)"]),
        (Feature("grid", 4, (2, 3)), ("map",), ["{0}.movedim(-1, 1)"]),
        (Feature("map", 4, (2, 3)), ("tokens",), ["{0}.movedim(1, -1)", "{0}.flatten(1, 2)"]),
        (Feature("tokens", 4, (2, 3)), ("map",), ["{0}.unflatten(1, (-1, 3))", "{0}.movedim(-1, 1)"]),
        (Feature("tokens", 4, (6,)), ("grid",), ["{0}"]),
    ],
)
def test_casts(feature: Feature, wanted, templates: list[str]):
    steps = casts(feature, wanted)
    assert [step.template for step in steps] == templates
    assert all(step.feature.layout in ("map", "grid", "tokens") for step in steps)
    assert (steps[-1].feature if steps else feature) == feature.with_(layout=wanted[0])


def test_a_cast_is_emitted_once():
    emitter = Emitter()
    value = emitter.value(Feature("map", 4, (2, 3)))
    tokens = emitter.cast(value, "tokens")
    assert emitter.cast(value, "tokens") is tokens and emitter.cast(value, "grid").feature.layout == "grid"
    assert len(emitter.steps) == 2


@pytest.mark.parametrize(
    ("feature", "wanted", "message"),
    [
        (Feature("vector", 4), "map", "a map is needed here, this is a vector of 4"),
        (Feature("tokens", 4, (2, 2), prefix=1), "map", "1 prefix token(s) have no place on a map"),
        (Feature("map", 4, (2, 2)), "vector", "a vector is needed here, this is a map 4 x 2x2"),
    ],
)
def test_casts_that_there_are_not(feature: Feature, wanted, message: str):
    with pytest.raises(SpecError) as caught:
        casts(feature, (wanted,))
    assert caught.value.problems[0].message == message and caught.value.problems[0].hint


def stages(shared: str, body: str, *, depth: str = "2", stage_shared: str = "") -> str:
    inside = f"  shared:\n    {stage_shared}\n" if stage_shared else ""
    return (
        f"name: t\ninput: image(8, 16)\nshared:\n  {shared}\nstages:\n  depth: {depth}\n"
        f"  down: id if stage == 0 else conv(c, 3, stride=2)\n{inside}  body: {body}\n"
    )


TWO_THINGS = {
    "a module for some blocks only": stages("f: 3 * (id if index == 1 else conv(c))", "depth * res(f)"),
    "a module for later blocks only": stages("f: conv(c, 3) if index == 1 else id", "depth * f"),
    "the order of two": stages("g: conv(c)\n  h: linear(c)\n  f: g >> h if index == 0 else h >> g", "depth * res(f)"),
    "another of two": stages("g: conv(c)\n  h: linear(c)\n  f: g if index == 0 else h", "depth * res(f)"),
    "a side of a nested one": stages(
        "g: conv(c, 1)\n  f: |\n    x ->\n    y = x >> g\n    return y - x if index == 0 else x - y", "depth * f"
    ),
    "by the layer": stages("f: conv(c, 3 + 2 * layer)", "depth * f"),
    "by the stage": stages("f: conv(c, 1) >> times(1 + stage)", "depth * f", depth="[1, 1]"),
    "another drop rate": stages("f: res(conv(c), drop=layer / 10)", "depth * f"),
    "another window": stages("f: window(4 if index == 0 else 2, attention(2))", "depth * f"),
}


@pytest.mark.parametrize("text", TWO_THINGS.values(), ids=TWO_THINGS)
def test_uses_of_a_shared_module_that_differ(text: str):
    with pytest.raises(SpecError, match="a module that is built once"):
        front(load_text(text, "t.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        stages("f: conv(c, 3)", "depth * f", depth="[1, 1]"),  # another grid
        stages("f: window(4, attention(2))", "depth * f"),
        stages("f: res(conv(c)) if stage == 0 else res(conv(c))", "depth * f", depth="[1, 1]"),
        stages("g: conv(c)", "depth * res(f)", stage_shared="f: g >> relu >> conv(c + 0 * stage)", depth="[1, 1]"),
        stages("f: conv(c) if stage < 2 else none", "depth * res(f)", depth="[1, 1]"),
    ],
)
def test_uses_of_a_shared_module_that_agree(text: str):
    front(load_text(text, "t.yaml"))


# Words that count


def kernels(model: str) -> list[int]:
    text = f"name: t\ninput: image(3, 32)\nlet:\n  k: [3, 5, 7, 9, 11, 13]\n{model}\n"
    return [node.args["kernel"] for _, node in module_nodes(front(load_text(text, "t.yaml")).ir) if node.operator == "conv"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("model: x -> x >> 3 * dw(k[index])", [3, 5, 7]),
        ("model: x -> x >> 3 * dw(k[layer])", [3, 5, 7]),
        ("  f: dw(k[index]) >> relu\nmodel: x -> x >> 3 * f", [3, 5, 7]),
        ("model: x -> x >> 2 * dw(k[index]) >> 3 * dw(k[index])", [3, 5, 3, 5, 7]),
        ("model: x -> x >> 2 * dw(k[layer]) >> 3 * dw(k[layer])", [3, 5, 7, 9, 11]),
        ("model: |\n  x ->\n  y = steps(3 * dw(k[index]))\n  return y[0] + y[2]", [3, 5, 7]),
        ("model: x -> x >> 2 * (2 * dw(k[index]))", [3, 3, 5, 5]),  # the copies of the outer repeat
        ("model: x -> x >> dw(k[index])", [3]),
        ("stem: 2 * dw(k[index])\nstages:\n  body: relu\nhead: 2 * dw(k[index])", [3, 5, 3, 5]),
        ("stem: 2 * dw(k[layer])\nstages:\n  depth: [1, 2]\n  body: depth * dw(k[layer])", [3, 5, 3, 5, 7]),
        ("stages:\n  depth: [1, 2]\n  body: depth * (2 * dw(k[index]))", [3, 3, 3, 3, 5, 5]),
        ("stem: 2 * dw(k[index])\nmodel: x -> x >> stem >> stem", [3, 5]),
    ],
)
def test_copies_outside_the_stages_are_counted(model: str, expected: list[int]):
    assert kernels(model) == expected


# What is taken back


def names(text: str) -> set[str]:
    return {".".join(path) for path, _ in module_nodes(front(load_text(text, "t.yaml")).ir)}


@pytest.mark.parametrize("where", ["network", "stage"])
def test_an_absent_chain_leaves_no_shared_module(where: str):
    gone = "let:\n  gone: none\n"
    shared = "{f: conv(c), g: linear(c)}"
    inside, outside = (f"  shared: {shared}\n", "") if where == "stage" else ("", f"shared: {shared}\n")
    text = f"name: t\ninput: image(8, 16)\n{gone}{outside}stages:\n  depth: 2\n{inside}  body: depth * block\n"
    for block, left in (
        ("res(conv(c)) >> res((f >> g) * gone)", set()),
        ("res(f >> relu) >> res((f >> g) * gone)", {"f"}),
        ("res((f >> g) * gone) >> res(f >> relu)", {"f"}),
    ):
        shared_names = {
            name.rpartition(".")[2] for name in names(text.replace("let:\n", f"let:\n  block: {block}\n")) if "shared" in name
        }
        assert shared_names == left, block


def test_blocks_that_are_taken_back_do_not_count():
    text = (
        "name: t\ninput: image(4, 8)\nlet:\n  gone: none\n  b: conv(c, 1 + 2 * index)\nstages:\n  depth: 2\n"
        "  body: |\n    x ->\n    y = (x >> depth * b) * gone\n    return (x >> depth * b) + y\n"
    )
    root = front(load_text(text, "t.yaml")).ir
    assert [node.args["kernel"] for _, node in module_nodes(root)] == [1, 3]
