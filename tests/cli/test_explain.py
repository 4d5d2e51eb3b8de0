"""``metablock explain``: what a name of a spec leads to, and who set it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metablock.language.standard import BUILTIN
from metablock.lowering.ir import module_nodes
from metablock.report.explain import WORDS, explain
from metablock.report.name_models import Explanation, NameText
from metablock.report.options import BuildOptions, lowered

ROOT = Path(__file__).parents[2]
OWN = """\
name: own
input: image(3, 32)
let:
  norm: layer_norm
  pool: pool(5)
  gate(a, r=2): id * (linear(c // r) >> gelu >> linear(c) >> a)
  token: |
    y, z = linear(2 * c) >> chunk(2)
    mixed = y >> dw(3)
    return (mixed + pool) * z
  wide: 2 * 8
shared:
  mix: conv(8, 1)
stem: conv(wide, 1) >> mix >> mix
stages:
  shared:
    table: linear(c)
  depth: [2, 1]
  dim: [8, 16]
  drop: [0.1, ramp(0.5)]
  down:
    - conv(dim, 4, stride=4)
    - conv(dim, 2, stride=2)
  body: depth * (res(norm >> token) >> res(gate(sigmoid) >> mlp >> table))
head: norm >> global_pool >> linear(classes)
traits: {calm: {norm: group_norm(1)}}
variants:
  small: {}
  large:
    of: [small, calm]
    let: {act: relu}
    stem: conv(8, 1) >> act >> mix
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return path


def one(source: object, slot: str, **more: object) -> NameText:
    [name] = explain(BuildOptions(str(source), **more), slot).names  # type: ignore[arg-type]
    return name


def flat(name: NameText) -> list[str]:
    return [name.name, *(text for part in name.parts for text in flat(part))]


def line_of(place: str | None) -> str:
    assert place is not None
    file, _, line = place.rpartition(":")
    return (ROOT / file).read_text().splitlines()[int(line) - 1]


def test_a_name_leads_down_to_operators(run):
    name = one("poolformer_s12", "token")
    assert (name.kind, name.text) == ("column", "pool(3)")
    [pool] = name.parts
    assert (pool.kind, pool.text, pool.arguments) == ("standard binding", "avg_pool(k, count_padding=false) - id", {"k": "3"})
    assert [part.kind for part in pool.parts] == ["operator", "word"]
    assert "token:" in line_of(name.place) and line_of(pool.place).startswith("pool(k=3):")
    assert line_of(pool.parts[0].place).startswith("class AvgPool")
    text = run("explain", "poolformer_s12", "token").stdout
    assert text.startswith("token = pool(3)  [column; architectures/metaformer.yaml:")
    assert "\n  pool(3) = avg_pool(k, count_padding=false) - id\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert Explanation.model_validate_json(run("explain", "poolformer_s12", "token", "--json").stdout).names == (name,)


def test_who_set_a_name(run):
    name = one("caformer_s18", "stages[2].token", edits=("stages[1:].token = dw(7)",))
    assert [one.by for one in name.set_by] == ["the file", "trait convformer", "trait caformer", "an edit"]
    assert [one.text for one in name.set_by][-2:] == ["token: [sepconv, sepconv, attn, attn]", "stages[1:].token: dw(7)"]
    assert "caformer" in line_of(name.set_by[2].place)
    assert (name.text, name.place, [stage.stage for stage in name.stages]) == ("dw(7)", "--edit", [2])
    text = run("explain", "caformer_s18", "token").stdout
    assert "\nset by\n  the file (architectures/metaformer.yaml:" in text
    assert "\n  stages 0-1: sepconv\n  stages 2-3: attn\n" in text


def test_numbers_block_by_block(run):
    """They are the rates of the network that is built."""
    name = one("swin_tiny", "drop")
    rates = [float(value) for stage in name.stages for value in stage.values]
    nodes = {path[:4]: node for path, node in module_nodes(lowered(BuildOptions("swin_tiny")).ir) if node.operator == "drop_path"}
    built = [node.args["rate"] for node in nodes.values()]
    assert rates[-len(built) :] == pytest.approx(built, abs=1e-4)
    assert not any(rates[: -len(built)])
    assert name.used_by == ("block",), "`res` reads it without naming it"
    text = run("explain", "swin_tiny", "drop").stdout
    assert "\n  stage 0: 0.0, 0.01818\n" in text
    assert one("swin_tiny", "stages[-1].heads").stages[0].values == ("24", "24")


@pytest.mark.parametrize(
    ("slot", "kind", "parts"),
    [
        ("wide", "binding", []),
        ("mix", "shared module, built once for the network", ["conv(8, 1)"]),
        ("table", "shared module, built once for each stage", ["linear(c)", "c"]),
        ("gate", "binding", ["id", "linear(c // r)", "c", "gelu"]),
        ("pool", "binding", ["pool(5)", "avg_pool(k, count_padding=false)", "id"]),
        (
            "mixed",
            "wire of token",
            ["dw(3)", "conv(c, k, stride=stride, dilation=dilation, groups=c, bias=bias, padding=padding)", "c", "none"],
        ),
        ("a", "parameter of gate(a, r=2)", []),
        ("head", "section", ["norm", "layer_norm", "global_pool", "linear(classes)", "classes"]),
        ("input", "section", []),
        ("stage", "word", []),
        ("max", "function of numbers", []),
        ("attention", "operator", []),
        ("mlp", "standard binding", ["linear(int(r * c), bias=bias)", "c", "gelu"]),
        ("end", "column", []),
    ],
)
def test_every_kind_of_name(own, slot, kind, parts):
    name = one(own, slot)
    assert name.kind == kind
    assert flat(name)[1:] == parts


def test_a_wire_and_a_number(own, run):
    assert one(own, "y").text == "y, z = linear(2 * c) >> chunk(2)"
    assert one(own, "wide").value == "16"
    assert "wide = 2 * 8 = 16\n" in run("explain", own, "wide").stdout
    assert [stage.values for stage in one(own, "drop").stages] == [("0.1", "0.1"), ("0.5",)]


def test_lines_of_a_stream(tmp_path):
    path = tmp_path / "lets.yaml"
    path.write_text(
        "name: lets\ninput: image(8, 8)\nlet:\n  token: |\n    shared f = dw(3)\n    let g(a=3) = dw(a) >> gelu\n"
        "    y = f >> g(5)\n    return y >> f\nmodel: token >> global_pool >> linear(classes)\n"
    )
    assert [(one(path, name).kind, one(path, name).text) for name in "fgy"] == [
        ("shared module of token", "shared f = dw(3)"),
        ("recipe of token", "let g(a=3) = dw(a) >> gelu"),
        ("wire of token", "y = f >> g(5)"),
    ]
    assert one(path, "a").kind == "parameter of g(a=3)"
    assert flat(one(path, "g"))[1] == "dw(a)" and "gelu" in flat(one(path, "token"))


def test_a_variant_changes_what_a_name_leads_to(own):
    assert "layer_norm" in flat(one(own, "norm"))
    assert "group_norm(1)" in flat(one(own, "norm", variant="large"))
    assert one(own, "act", variant="large").set_by[0].by == "variant large"
    assert flat(one(own, "stem", variant="large")) == ["stem", "conv(8, 1)", "act", "relu", "mix", "conv(8, 1)"]
    body = flat(one(own, "body", variant="large"))
    assert body.index("group_norm(1)") < body.index("token")


def test_a_name_is_explained_once(run):
    name = one("swin_tiny", "stages")
    text = run("explain", "swin_tiny", "stages").stdout
    assert text.count("norm = layer_norm") == 2 and text.count("explained above") >= 1
    assert {part.name for part in name.parts} >= {"depth", "dim", "heads", "drop", "down", "body"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["swin_tiny", "tokn"], "SLOT:1:1: 'swin' has no name 'tokn'\n    tokn\n    ^^^^\n  did you mean 'token'?"),
        (["swin_tiny", "atention"], "did you mean 'attention'?"),
        (["litv2_small", "hihg"], "did you mean 'high'?"),
        (["swin_tiny", "zzz"], "its slots: depth, dim, heads,"),
        (["swin_tiny", "stages[9].token"], "there is no stage 9"),
        (["swin_tiny", "token ="], "SLOT:1:"),
        (["swin_tiny", ""], "SLOT"),
        (["swin_tny", "token"], "did you mean 'swin_tiny'?"),
        (["swin_tiny", "token", "--variant", "swin_smal"], "swin_small"),
        (["swin_tiny", "token", "--edit", "tokn = pool"], "tokn"),
    ],
)
def test_misspelt(run, words, says):
    result = run("explain", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


@pytest.mark.parametrize("slot", ["\x1b[31m\u202e", "x" * 300, "stages[nan].token", "stages[1:", "token(", "a\0b", "=", "1"])
def test_odd_names(run, slot):
    result = run("explain", "swin_tiny", slot)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "\x1b" not in result.stderr and "\u202e" not in result.stderr


def test_every_word_is_explained():
    assert set(WORDS) == set(BUILTIN)


def test_on_standard_input(run):
    result = run("explain", "-", "pool", "--json", input=OWN)
    assert json.loads(result.stdout)["names"][0]["place"] == "<stdin>:5"
