"""A spec's canonical text reads back as the spec."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language.trees import expressions, headers, targets, tuples, values, words

from metablock.language import ast as e
from metablock.language.edits import parse_edits, resolve
from metablock.language.fact_reader import COUNTS, FACTS
from metablock.language.format import WIDTH, show_spec, spec_hash
from metablock.language.load import PAPER, load_file, load_text
from metablock.language.printer import show
from metablock.language.resources import architectures
from metablock.language.spec import EXPRESSIONS, Binding, Edit, EditSet, Facts, Rule, Spec, WeightTable

SKETCHES = Path(__file__).parent / "sketches"
FILES = {**architectures(), **{f"sketch of {path.stem}": path for path in sorted(SKETCHES.glob("*.yaml"))}}


def assert_reads_back(spec: Spec) -> None:
    text = show_spec(spec)
    assert load_text(text, "canonical.yaml") == spec.with_(variant=None)
    assert show_spec(load_text(text)) == text


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_files_and_their_variants(path: Path):
    spec = load_file(path)
    assert_reads_back(spec)
    names = [*spec.variants] or [None]
    for variant in names[:: max(1, len(names) // 6)]:
        resolved = resolve(spec, variant)
        assert load_text(show_spec(resolved)) == resolved.with_(variant=None)


# Random specs: every expression in every place, words that YAML would take for its own.

CANONICAL = """\
metablock: 1
name: small
paper: {title: "Small: a network", venue: CVPR 2024, arxiv: "2401.01230", code: who/where}
input: image(3, 224)

let:
  norm: layer_norm
  ffn(r=4, act=gelu): linear(r * c) >> act >> linear(c)
  sizes: [3, 5, 7]
  which: "[3, 5, *sizes][index]"
  mode: '"same"'
  token:
    - attention(dim // 32, scale=1)
    - pool(3)
  block: |
    x ->
    y = x >> norm >> token
    return x + y

stem: conv(dim[0], 4, stride=4)
stages:
  depth: [2, 2]
  dim:   [64, 128]
  body:  depth * block
  shared:
    table: relative_bias
head: norm >> global_pool >> linear(classes)

freeze: [stem, stages.0]
init: {linear: trunc_normal(0.02), head.linear.bias: torch}

weights:
  timm:
    stages.{i}.blocks.{j}.*: stages.{i}.blocks.{j}.*
    head.linear.*: head.fc.*
    ignore: ["*.relative_position_index"]
  other: {of: timm, stem.*: patch_embed.*}

traits:
  wide: {dim: [128, 256]}
variants:
  tiny:  {}
  large: {of: [tiny, wide], depth: [4, 4], "stages[1:].token": id, init: {linear: zeros}}
  whole: {of: wide, let: {twice(a): 2 * a}, stages: {depth: 3, dim: 64, body: depth * twice(block)}}

facts:
  - [variant, params,   macs, reported.top1]
  - [tiny,     12345, 678900,          81.2]
  - [large,        -,      -,             -]
"""


def test_canonical_text_is_kept():
    assert show_spec(load_text(CANONICAL)) == CANONICAL


def test_what_is_long_is_broken():
    call = "f(" + ", ".join(f"argument_number_{i}={i}" for i in range(10)) + ')"'
    rows = ", ".join(["a" * 20] * 10)
    spec = load_text(f"name: x\ninput: image(3, 8)\nlet: {{a: [{rows}], b: '{call[:-1]} >> g(\"  a  b \")'}}\nmodel: a >> b\n")
    text = show_spec(spec)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert 'g("  a  b ")' in text
    assert load_text(text) == spec


def writable(key: e.Header | e.StageTarget) -> bool:
    """A key stands on one line and has no `|`: with both kinds of quotes and what YAML splits at, it cannot be written."""
    return "'" not in show(key)


def tables(least: int = 0) -> st.SearchStrategy:
    binding = st.builds(Binding, headers().filter(writable), values | tuples(values).map(e.List))
    return st.lists(binding, min_size=least, max_size=3, unique_by=lambda b: b.name).map(lambda found: {b.name: b for b in found})


def mapping(keys: st.SearchStrategy, items: st.SearchStrategy) -> st.SearchStrategy:
    return st.dictionaries(keys, items, max_size=3)


keys = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=8)
free = words | keys
edits = st.lists(st.builds(Edit, targets.filter(writable), values), max_size=3, unique_by=lambda edit: repr(edit.target))


@st.composite
def sets(draw: st.DrawFn) -> dict[str, EditSet]:
    result = {}
    for name in draw(st.lists(keys, max_size=2, unique=True)):
        changes = [edit for edit in draw(edits) if edit.name not in ("of", "init", "stages", "let")]
        changes += [
            Edit(e.Header(table), draw(tables(1))) for table in draw(st.lists(st.sampled_from(["let", "stages"]), unique=True))
        ]
        of = tuple(draw(st.lists(free, max_size=2)))
        result[name] = EditSet(name, of, tuple(changes), init=draw(mapping(keys, expressions)))
    return result


@st.composite
def weights(draw: st.DrawFn) -> dict[str, WeightTable]:
    result: dict[str, WeightTable] = {}
    for name in draw(st.lists(keys, max_size=2, unique=True)):
        rules = [Rule(ours, theirs) for ours, theirs in draw(mapping(keys, free)).items() if ours not in ("of", "ignore")]
        of = draw(st.sampled_from([None, *result]))
        result[name] = WeightTable(name, of, tuple(rules), draw(tuples(free)))
    return result


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    if draw(st.booleans()):
        return Facts()
    header = ("variant", *draw(st.lists(st.sampled_from(FACTS[1:]), max_size=3, unique=True)))
    words, counts = st.sampled_from(["-", "12M", "81.2"]) | free, st.sampled_from(["-", "12", "0"])
    names = draw(st.lists(words, max_size=2, unique=True))
    return Facts(header, tuple((name, *(draw(counts if key in COUNTS else words) for key in header[1:])) for name in names))


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    columns = draw(tables(1))
    columns.pop("shared", None)
    inputs = draw(expressions.map(lambda node: {"input": node}) | mapping(keys, expressions))
    return Spec(
        name=draw(free),
        paper=draw(mapping(st.sampled_from(PAPER), free)),
        inputs=inputs or {"input": e.Name("x")},
        let=draw(tables()),
        shared=draw(tables()),
        columns=columns or {"body": Binding(e.Header("body"), e.Name("id"))},
        stage_shared=draw(tables()),
        sections=draw(mapping(st.sampled_from(EXPRESSIONS), values)),
        freeze=draw(tuples(st.sampled_from(["stem", "stages.0", "head.norm"]))),
        init=draw(mapping(keys, expressions)),
        weights=draw(weights()),
        traits=draw(sets()),
        variants=draw(sets()),
        facts=draw(facts()),
    )


@settings(max_examples=15)
@given(specs())
def test_any_spec(spec: Spec):
    assert_reads_back(spec)


# The hash

# That of CANONICAL before files stated their revision: journals of studies know runs by it.
HASH = "96c7ec6143d61e8529b7e5876e791fd5d656e9d67267ff34c4a9d02b3a124351"


def test_the_hash_does_not_see_the_revision():
    assert spec_hash(load_text(CANONICAL)) == spec_hash(load_text(CANONICAL.replace("metablock: 1\n", ""))) == HASH


def test_the_hash_is_that_of_the_network():
    spec = load_text(CANONICAL)
    assert len(spec_hash(spec)) == 64
    same = spec.with_(name="other", paper={}, facts=Facts(), weights={}, variant="x")
    assert spec_hash(same) == spec_hash(spec)
    assert spec_hash(load_text("# a comment\n" + CANONICAL.replace("gelu", "  gelu "))) == spec_hash(spec)


def test_the_hash_sees_what_changes_the_network():
    spec = resolve(load_text(CANONICAL))
    seen = {spec_hash(spec)}
    changes = ["dim = [64, 129]", "token = pool(5)", "stages[0].token = id", "head = linear(classes)", "input = image(1, 224)"]
    for text in changes:
        seen.add(spec_hash(resolve(spec, edits=parse_edits([text]))))
    seen.add(spec_hash(spec.with_(init={})))
    assert len(seen) == len(changes) + 2


@pytest.mark.parametrize("name", ["poolformer_s12", "poolformerv2_s12"])
def test_a_resolved_variant_is_its_text(name: str):
    resolved = resolve(load_file(architectures()["metaformer"]), name)
    again = load_text(show_spec(resolved))
    assert spec_hash(again) == spec_hash(resolved)
    assert again.facts.of(name) == resolved.facts.of(name)
