"""``metablock list``: the catalogue by its facts, and the operators."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from metablock.catalogue.lookup import catalogue
from metablock.language.edits import resolve
from metablock.language.load import load_text
from metablock.language.registry import OPERATORS
from metablock.language.standard import standard
from metablock.report.mixers import AROUND, CONVOLUTIONS, MIXING, mixers
from metablock.report.models import CatalogueRow
from metablock.report.name_models import OperatorRow, OperatorText
from metablock.report.operators import operator_text, uses_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rows(run):
    return [CatalogueRow.model_validate(row) for row in json.loads(run("list", "--json").stdout)]


def test_every_variant_has_a_row(rows):
    assert [row.name for row in rows] == [variant for name, spec in catalogue().items() for variant in spec.variants or [name]]


def test_rows_are_the_facts(rows):
    row = next(row for row in rows if row.name == "poolformer_s12")
    assert (row.parameters, row.frozen, row.macs, row.input) == (11915176, 0, 1812267008, "3x224x224")
    assert (row.file, row.year, row.mixers) == ("metaformer.yaml", 2022, ("pool",))
    row = next(row for row in rows if row.name == "randformer_s12")
    assert (row.parameters, row.frozen) == (11891712, 12127010 - 11891712)


def test_a_line_a_variant(run, rows):
    lines = run("list").stdout.splitlines()[2:]
    assert [line.split()[0] for line in lines] == [row.name for row in rows]
    line = next(line for line in lines if line.startswith("randformer_s12 "))
    for cell in (
        "11.9M + 235k",
        "1.89G",
        "3x224x224",
        "2022",
        "metaformer.yaml",
        "MetaFormer Is Actually What You Need for Vision",
    ):
        assert cell in line


def test_at_a_terminal(run, monkeypatch):
    monkeypatch.setattr("metablock.cli.tables.terminal", lambda: True)
    lines = run("list", "poolformer_s*").stdout.splitlines()
    assert lines[0] == "MetaFormer Is Actually What You Need for Vision, 2022, metaformer.yaml"
    assert lines[3].split() == ["poolformer_s12", "11.9M", "1.81G", "3x224x224", "pool"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("poolformer_s12", ["poolformer_s12"]),
        ("poolformer_s?2", ["poolformer_s12"]),
        ("POOLFORMER_M", ["poolformer_m36", "poolformer_m48"]),
        ("*former_s12", ["poolformer_s12", "identityformer_s12", "randformer_s12"]),
    ],
)
def test_patterns(run, pattern, names):
    assert [row["name"] for row in json.loads(run("list", "--json", pattern).stdout)] == names


def test_a_file_is_a_pattern(run):
    assert len(json.loads(run("list", "--json", "metaformer").stdout)) == len(catalogue()["metaformer"].variants)


@pytest.mark.parametrize("args", [(), ("--json",), ("--operators",)])
def test_nothing_fits(run, args):
    result = run("list", "zzz", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "fits 'zzz'\n  give a part of a name, or a glob" in result.stderr
    assert "did you mean 'poolformer_s12'?" in run("list", "poolfrmer_s12").stderr


def test_operators(run):
    rows = [OperatorRow.model_validate(row) for row in json.loads(run("list", "--operators", "--json").stdout)]
    assert {row.name for row in rows} == {*OPERATORS, *standard()}
    assert all(row.doc and row.signature.startswith(row.name) for row in rows)
    text = run("list", "--operators").stdout
    assert "\nmlp(r=4, act=gelu, bias=true)\n    = linear(int(r * c)" in text
    assert "\nres(a, skip=id, scale=none, drop=none)\n" in text
    assert "\ngelu" in text


def page(run, name: str) -> tuple[str, OperatorText]:
    (row,) = json.loads(run("list", "--operators", name, "--json").stdout)
    return run("list", "--operators", name).stdout, OperatorText.model_validate(row)


def test_the_whole_text_of_an_operator(run):
    text, row = page(run, "attention")
    assert text.startswith("attention(heads, q=none,")
    assert "\n  q=none, k=none, v=none, kv=none, qkv=none: a module\n      projections, `id` for none." in text
    assert "\n  drop=0.0: a number, from 0 to 1\n      dropout rate" in text
    assert "\n  heads that do not divide a width\n" in text
    assert '\n  >>> shape_of("attention(4)", "64x14x14")\n  \'tokens 14x14 x 64\'\n' in text
    assert "\n  swin.yaml: attn\n    Swin Transformer: Hierarchical Vision" in text
    assert "\nsimilar names: agent_attention, " in text
    assert max(len(line) for line in text.splitlines() if ">>>" not in line) <= 80
    assert "proj(softmax(scale * q k' + pos) v + value(v))" in row.formulas
    heads, *_ = row.arguments
    assert (heads.name, heads.default, heads.text) == ("heads", None, "number of heads.")
    assert row.bindings[:2] == ("hifi", "lofi")
    assert {use.file: use.slots for use in row.papers}["litv2_hilo.yaml"] == ("token",)


def test_the_whole_text_of_a_leaf(run):
    text, row = page(run, "conv")
    assert row.takes == "map, grid, sequence"
    assert row.gives == "map; keeps the grid, changes it with `stride=`"
    assert row.errors == ("{groups} groups do not divide {x.c} channels in and {out} out",)
    file, line = row.place.split(":")
    assert (ROOT / file).read_text().splitlines()[int(line) - 1].startswith("class Conv(")
    assert "\nlayouts\n  in: map, grid, sequence\n  out: map; keeps the grid, changes it with `stride=`\n" in text


def test_the_whole_text_of_a_standard_binding(run):
    text, row = page(run, "hilo")
    assert row.definition.startswith("hilo(heads, alpha=0.9, size=2): |\n  high = heads - int(heads * alpha)")
    assert row.definition.splitlines()[1] in text
    assert "arXiv 2205.13213" in row.sources[0]
    assert [argument.default for argument in row.arguments] == [None, "0.9", "2"]
    assert [use.file for use in row.papers] == ["litv2_hilo.yaml"]
    assert page(run, "dw")[1].details == (), "the heading of a group is not about one of it"


def test_a_part_of_an_operators_name_lists(run):
    names = [row["name"] for row in json.loads(run("list", "--operators", "*_atten*", "--json").stdout)]
    assert names == ["agent_attention", "kernel_attention"]


def test_a_name_that_a_spec_binds_itself_is_no_use_of_the_operator():
    """`pool` of these files is their own; the one inside its own binding is the library's."""
    text = "name: n\ninput: image(3, 8)\nlet: {scale(a): times(a), pool: pool(5), b(gelu): relu >> gelu}\nmodel: pool >> scale(2) >> b(id)\n"
    spec = load_text(text)
    assert [uses_of(spec, name) for name in ("pool", "scale", "gelu", "times")] == [("pool",), (), (), ("scale",)]


def test_every_operator_says_what_it_is(monkeypatch):
    monkeypatch.setattr("metablock.report.operators._papers", lambda name: [])
    for name in OPERATORS:
        row = operator_text(name)
        assert row.doc and row.examples and row.place and row.takes and row.gives, name
        silent = [argument.name for argument in row.arguments if not (argument.text or f"``{argument.name}``" in row.doc)]
        assert not silent, f"{name}: {silent}"


def test_the_list_of_operators_needs_no_torch():
    code = "import sys\nfrom metablock.report.operators import operators\noperators('conv')\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_mixing_names_exist():
    assert {*OPERATORS, *standard()} >= MIXING | CONVOLUTIONS | AROUND


@pytest.mark.parametrize(
    ("let", "names"),
    [
        ("token: pool(3)", ["pool"]),
        ("token: dw(7) >> linear(c)", ["dw"]),
        ("sepconv: linear(2 * c) >> dw(7)\n  token: [id, sepconv]", ["dw"]),
        ("token: window(2, attention(heads=2), shift=index)", ["window(attention)"]),
        ("pool: pool(5)\n  token: pool", ["pool"]),
        ("token: id", ["id"]),
        ("token: grn", ["grn"]),
        ("token: attention(2, q=dw(3)) if index > 0 else pool", ["attention", "pool"]),
        ("mixer: conv(c, 3) >> relu >> conv(c, 1) >> dw_bn(3)", ["conv", "dw"]),
        ("mixer: conv(c)", []),
    ],
)
def test_mixers(let, names):
    body = "token" if "token" in let else "mixer"
    text = f"name: x\ninput: image(3, 8)\nlet:\n  {let}\nstages:\n  depth: [1, 1]\n  body: depth * res({body})\n"
    assert mixers(resolve(load_text(text))) == names
