"""``metablock list``: the catalogue by its facts, and the operators."""

from __future__ import annotations

import json

import pytest

from metablock.catalogue.lookup import catalogue
from metablock.language.edits import resolve
from metablock.language.load import load_text
from metablock.language.registry import OPERATORS
from metablock.language.standard import standard
from metablock.report.mixers import AROUND, CONVOLUTIONS, MIXING, mixers
from metablock.report.models import CatalogueRow, OperatorRow


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
    monkeypatch.setattr("metablock.cli.output._terminal", lambda: True)
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
