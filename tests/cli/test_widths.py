"""Tables at a terminal of 80 and 60 columns, and in a pipe: no name is broken, nothing is cut without an ellipsis."""

from __future__ import annotations

import itertools
import re

import pytest

from metablock.cli.tables import ELLIPSIS, Head, table_lines

LONG = """\
name: a_network_with_a_name_that_is_as_long_as_some_people_make_them
paper: {title: A network}
input: image(3, 32)
let:
  the_token_mixer_of_this_network_with_a_long_name: dw(3) >> the_second_part_of_it_with_a_long_name
  the_second_part_of_it_with_a_long_name: res(linear(c) >> gelu >> linear(c))
stem: conv(8, 4, stride=4)
stages:
  depth: [1, 1]
  body: depth * res(layer_norm >> the_token_mixer_of_this_network_with_a_long_name)
head: global_pool >> linear(classes)
variants:
  a_variant_with_a_name_that_is_as_long_as_some_people_make_them: {}
facts:
  - [variant, params, macs, reported.params, reported.macs, reported.top1]
  - [a_variant_with_a_name_that_is_as_long_as_some_people_make_them, 9728, 62976, 0.02M, 0.1M, 70.1]
"""
VERBS = {
    "build": ["build", "LONG", "--device", "meta"],
    "build swin": ["build", "swin_tiny", "--device", "meta"],
    "shapes": ["show", "LONG", "--as", "shapes"],
    "shapes litv2": ["show", "litv2_small", "--as", "shapes"],
    "list": ["list", "swin"],
    "list operators": ["list", "--operators", "*_bn"],
    "operator": ["list", "--operators", "attention"],
    "table": ["table", "LONG", "swin_tiny", "vit_base"],
    "ops": ["ops", "LONG", "--shapes"],
    "explain": ["explain", "LONG", "body"],
}
# Shapes, expressions and code, whose parts are words of their own.
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text(LONG)
    return lambda verb: [str(path) if word == "LONG" else word for word in VERBS[verb]]


def names(text: str) -> set[str]:
    return set(WORD.findall(text))


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("verb", VERBS)
def test_every_name_is_whole_or_ends_in_an_ellipsis(run, words, verb, width, monkeypatch):
    whole = names(run(*words(verb)).stdout)
    monkeypatch.setattr("metablock.cli.tables.terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    text = run(*words(verb)).stdout
    cut = {match[1] for match in re.finditer(rf"(\w+)[^\w\s]*{ELLIPSIS}", text)}
    for name in names(text) - whole:
        assert name in cut and any(other.startswith(name) for other in whole), f"{name!r} is broken"
    for line in text.splitlines():
        assert len(line) <= width or len(line.split()) <= 3 or ">>>" in line, line


@pytest.mark.parametrize("verb", VERBS)
def test_a_pipe_gets_everything(run, words, verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    text = run(*words(verb)).stdout
    assert ELLIPSIS not in text
    if verb in ("build", "shapes", "explain"):
        assert "the_token_mixer_of_this_network_with_a_long_name" in text
        assert "res(layer_norm >> the_token_mixer_of_this_network_with_a_long_name)" in " ".join(text.split())


def test_the_plan_of_a_study(run, words, monkeypatch):
    swap = "the_token_mixer_of_this_network_with_a_long_name = dw(3), dw(5) >> the_second_part_of_it_with_a_long_name"
    study = ["ablate", words("build")[1], "--swap", swap, "--data", "digits", "--epochs", "1", "--seeds", "1", "--dry-run"]
    whole = run(*study)
    assert whole.exit_code == 0, whole.stderr
    assert ELLIPSIS not in whole.stdout and swap.partition(",")[0].partition(" =")[0] in whole.stdout
    monkeypatch.setattr("metablock.cli.tables.terminal", lambda: True)
    lines = run(*study).stdout.splitlines()
    table = list(itertools.takewhile(bool, lines))
    assert max(map(len, table)) <= 80
    assert any(ELLIPSIS in line for line in table)


def test_columns_give_way_in_order():
    heads = [Head("name", "name"), Head("what", "text"), Head("n", "number")]
    row = ["a_name_of_some_length", "one two three four five", "1,000,000"]
    assert len(table_lines(heads, [row])) == 3
    text = table_lines(heads, [row], 45)
    assert [line for line in text if "a_name_of_some_length" in line and "1,000,000" in line]
    narrow = table_lines(heads, [row], 40)
    assert any(f"a_name_of_so{ELLIPSIS}"[:8] in line and ELLIPSIS in line and "1,000,000" in line for line in narrow)
    assert table_lines(heads, [["\x1b[31m", "a\tb\nc", "1"]])[2].split() == ["\\x1b[31m", "a", "b", "c", "1"]
