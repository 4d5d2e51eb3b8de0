"""Edits: what they say, what they change, and every message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metablock.errors import SpecError
from metablock.language import ast as e
from metablock.language import edits as module
from metablock.language.edits import MAX_SETS, apply, parse_edits, resolve, stage_count
from metablock.language.format import show_spec
from metablock.language.load import load_text
from metablock.language.parser import expression
from metablock.language.printer import show
from metablock.language.spec import Spec

BASE = """\
name: net
input: image(3, 64)
let:
  norm: layer_norm
  token: attention(heads)
  channel(r=4): mlp(r)
  block: res(norm >> token) >> res(norm >> channel)
shared: {table: learned(1)}
stem: conv(dim[0], 4, stride=4)
stages:
  depth: [2, 2, 6, 2]
  dim:   [64, 128, 320, 512]
  heads: dim // 32
  body:  depth * block
  shared: {bias: relative_bias}
head: norm >> global_pool >> linear(classes)
init: {linear: trunc_normal(0.02)}
"""
SETS = """\
traits:
  wide: {dim: [96, 192, 384, 768], init: {linear: zeros}}
  deep: {depth: [2, 2, 18, 2], dim: [80, 160, 400, 640]}
variants:
  tiny: {}
  large: {of: [wide, deep]}
  other: {of: [deep, wide], depth: 3, init: {conv: zeros}}
  small_224: {token: pool(3)}
  small_384: {of: small_224, input: "image(3, 384)"}
  plain:
    of: wide
    let: {twice(a): 2 * a}
    stages: {depth: 1, body: twice(block)}
facts:
  - [variant, params]
  - [tiny, 12]
  - [large, 34]
"""


def spec() -> Spec:
    return load_text(BASE, "net.yaml")


def edited(*texts: str) -> Spec:
    return apply(spec(), parse_edits(texts))


def column(of: Spec, name: str) -> list[str] | str:
    body = of.columns[name].body
    return [show(item) for item in body.items] if isinstance(body, e.List) else show(body)


# What an edit says


@pytest.mark.parametrize(
    ("text", "target", "value"),
    [
        ("token = attention(8)", e.Header("token"), "attention(8)"),
        (" token=attention( 8 ) # why", e.Header("token"), "attention(8)"),
        ("dim = [48, 96]", e.Header("dim"), "[48, 96]"),
        ("ffn(r=2) = mlp(r)", e.Header("ffn", (e.Parameter("r", e.Number(2)),)), "mlp(r)"),
        ("stages.token = id", e.StageTarget(None, "token"), "id"),
        ("stages[*].token = id", e.StageTarget(None, "token"), "id"),
        ("stages[2].token = id", e.StageTarget(e.Number(2), "token"), "id"),
        ("stages[-1].token = id", e.StageTarget(e.Negative(e.Number(1)), "token"), "id"),
        ("stages[2:].token = id", e.StageTarget(e.Slice(e.Number(2), None), "token"), "id"),
        ("block = x -> y = x >> norm return x + y", e.Header("block"), "x ->\ny = x >> norm\nreturn x + y"),
    ],
)
def test_edits_are_read(text: str, target: e.Header | e.StageTarget, value: str):
    [edit] = parse_edits([text])
    assert edit.target == target
    assert isinstance(edit.value, e.Node)
    assert show(edit.value) == value
    assert edit.span is not None
    assert edit.span.text.name == "--edit"
    assert parse_edits([edit]) == (edit,)


def test_all_problems_of_all_edits():
    with pytest.raises(SpecError) as caught:
        parse_edits(["token", "dim = [1", "head = id"], "edits")
    assert [problem.message for problem in caught.value.problems] == ["the edit has no '='", "this '[' is never closed"]
    assert "edits:1:1" in str(caught.value)


# What an edit changes


def test_bindings_columns_sections():
    new = edited("token = pool(3)", "dim = [8, 16, 32, 64]", "head = global_pool", "classes = 10", "input = signal(12, 500)")
    assert show(new.let["token"].body) == "pool(3)"
    assert column(new, "dim") == ["8", "16", "32", "64"]
    assert new.sections["head"] == e.Name("global_pool")
    assert new.sections["classes"] == e.Number(10)
    assert new.inputs == {"input": expression("signal(12, 500)")}
    assert spec() == load_text(BASE)  # the old one is as it was


def test_what_is_shared():
    new = edited("table = learned(2)", "bias = none")
    assert show(new.shared["table"].body) == "learned(2)"
    assert show(new.stage_shared["bias"].body) == "none"


def test_parameters_stay_unless_they_are_given():
    assert edited("channel = mlp(2 * r)").let["channel"].params == spec().let["channel"].params
    assert edited("channel(ratio=3) = mlp(ratio)").let["channel"].params[0].name == "ratio"


def test_a_standard_binding_is_replaced_in_let():
    new = edited("bn = batch_norm(0.001)")
    assert show(new.let["bn"].header) == "bn(eps=1e-5, momentum=0.1, gamma=1)"
    assert show(new.let["bn"].body) == "batch_norm(0.001)"


@pytest.mark.parametrize(
    ("target", "entries"),
    [
        ("stages[0]", ["id", "attention(heads)", "attention(heads)", "attention(heads)"]),
        ("stages[-1]", ["attention(heads)", "attention(heads)", "attention(heads)", "id"]),
        ("stages[2:]", ["attention(heads)", "attention(heads)", "id", "id"]),
        ("stages[:-3]", ["id", "attention(heads)", "attention(heads)", "attention(heads)"]),
        ("stages[1:3]", ["attention(heads)", "id", "id", "attention(heads)"]),
        ("stages[:]", ["id"] * 4),
        ("stages[*]", ["id"] * 4),
        ("stages", ["id"] * 4),
    ],
)
def test_some_stages_of_a_slot(target: str, entries: list[str]):
    new = edited(f"{target}.token = id")
    assert column(new, "token") == entries
    assert "token" not in new.let


def test_some_stages_of_a_column():
    assert column(edited("stages[1].dim = 2 * c", "stages[2:].dim = 9"), "dim") == ["64", "2 * c", "9", "9"]
    assert column(edited("stages[0].heads = 1"), "heads") == ["1", *["dim // 32"] * 3]


def test_columns_with_a_default():
    assert column(edited("stages[1].drop = 0.5"), "drop") == ["0", "0.5", "0", "0"]
    assert column(edited("stages[3].end = norm"), "end") == ["id", "id", "id", "norm"]
    assert column(edited("down = norm"), "down") == "norm"


def test_later_edits_win():
    assert column(edited("token = pool(3)", "stages[0].token = id"), "token") == ["id", *["pool(3)"] * 3]
    assert column(edited("stages[0].token = id", "token = pool(3)"), "token") == "pool(3)"


# Variants


def test_the_first_variant_is_the_default():
    base = load_text(BASE + SETS)
    assert resolve(base) == resolve(base, "tiny")
    assert resolve(base).variant == "tiny"
    assert (resolve(base).variants, resolve(base).traits) == ({}, {})
    assert resolve(base).facts.rows == (("tiny", "12"),)
    assert resolve(spec()).variant is None


def test_left_to_right_own_keys_last():
    base = load_text(BASE + SETS)
    assert column(resolve(base, "large"), "dim") == ["80", "160", "400", "640"]
    assert column(resolve(base, "other"), "dim") == ["96", "192", "384", "768"]
    assert column(resolve(base, "other"), "depth") == "3"
    assert resolve(base, "other").init == {"linear": e.Name("zeros"), "conv": e.Name("zeros")}
    assert resolve(base, "small_384").let["token"].body == expression("pool(3)")
    assert resolve(base, "plain").facts.rows == ()


def test_a_variant_with_stages_of_its_own():
    new = resolve(load_text(BASE + SETS), "plain")
    assert [*new.columns] == ["depth", "body"]
    assert show(new.let["twice"].header) == "twice(a)"
    assert show(new.let["norm"].body) == "layer_norm"


def test_a_variant_with_inputs_and_shared_modules_of_its_own():
    own = "\n    input:\n      x: image(3, 32)\n      mask: image(1, 32)\n    shared: {extra: linear(c)}\n"
    base = load_text(BASE + "variants:\n  plain: {}\n  masked:" + own)
    new = resolve(base, "masked")
    assert {name: show(node) for name, node in new.inputs.items()} == {"x": "image(3, 32)", "mask": "image(1, 32)"}
    assert {name: show(binding.body) for name, binding in new.shared.items()} == {"table": "learned(1)", "extra": "linear(c)"}
    assert resolve(base).inputs == base.inputs and load_text(show_spec(base)) == base


def test_edits_come_after_the_variant():
    new = resolve(load_text(BASE + SETS), "small_224", parse_edits(["stages[0].token = id"]))
    assert column(new, "token") == ["id", *["pool(3)"] * 3]


def test_abbreviations():
    base = load_text(BASE + SETS)
    assert base.variant_named("small") is None
    assert resolve(load_text(BASE + SETS.replace("small_384", "big_384")), "big").variant == "big_384"


def test_a_resolved_spec_stays_resolved():
    once = resolve(load_text(BASE + SETS), "large")
    assert resolve(once) == once and once.resolved
    assert resolve(once, "large") == once


# Messages: edits, what the message marks, the message, the hint

SLOTS = "slots of 'net': depth, dim, heads, body, norm, token, channel, block"
MESSAGES = [
    ("tokn = id", "tokn", "'tokn' names no slot or column of 'net'", "did you mean 'token'?"),
    ("zzz = id", "zzz", "'zzz' names no slot or column of 'net'", SLOTS),
    ("metablock = 2", "metablock", "the language's revision cannot be edited", "it stands once, at the top of the file"),
    ("stages[0].tokn = id", "stages[0].tokn", "'tokn' names no slot or column of 'net'", "did you mean 'token'?"),
    ("stages[0].head = id", "stages[0].head", "'head' names no slot or column of 'net'", "did you mean 'heads'?"),
    ("stages[4].token = id", "4", "there is no stage 4", "stages are numbered 0 to 3"),
    ("stages[-5].token = id", "-5", "there is no stage -5", "stages are numbered 0 to 3"),
    ("stages[4:].token = id", "4:", "this chooses no stage", "stages are numbered 0 to 3"),
    ("stages[x].token = id", "x", "a stage is chosen by a whole number", "write `stages[2]`, `stages[1:]` or `stages[-1]`"),
    ("stages[0.5].token = id", "0.5", "a stage is chosen by a whole number", "write `stages[2]`, `stages[1:]` or `stages[-1]`"),
    ("stages[:x].token = id", "x", "a stage is chosen by a whole number", "write `stages[2]`, `stages[1:]` or `stages[-1]`"),
]


@pytest.mark.parametrize(("text", "marked", "message", "hint"), MESSAGES, ids=[m[0] for m in MESSAGES])
def test_messages(text: str, marked: str, message: str, hint: str):
    with pytest.raises(SpecError) as caught:
        edited(text)
    [problem] = caught.value.problems
    assert problem.message == message
    assert problem.hint == hint
    assert problem.span is not None
    assert problem.span.content == marked


# The same for a file's variants.
FILES = [
    (
        "variants: {a: {metablock: 2}}",
        "a",
        "metablock",
        "the language's revision cannot be edited",
        "it stands once, at the top of the file",
    ),
    ("variants: {a: {of: b}}", None, "a", "'a' starts from unknown 'b'", "`of:` names other variants or traits: "),
    (
        "variants: {tiny: {of: tinny}, other: {of: othr}}",
        "other",
        "other",
        "'other' starts from unknown 'othr'",
        "`of:` names other variants or traits: tiny",
    ),
    (
        "variants: {a: {of: b}, b: {of: c}, c: {of: a}}",
        "a",
        "a",
        "variants start from each other: a -> b -> c -> a",
        "remove one `of:`",
    ),
    ("variants: {a: {of: a}}", "a", "a", "variants start from each other: a -> a", "remove one `of:`"),
    ("variants: {a: {tokn: id}}", "a", "tokn", "'tokn' names no slot or column of 'net'", "did you mean 'token'?"),
    ("variants: {tiny: {}}", "tinny", "variants", "'net' has no variant 'tinny'", "did you mean 'tiny'?"),
    ("variants: {s_1: {}, s_2: {}}", "s", "variants", "'net' has no variant 's'", "several begin so: s_1, s_2"),
    ("variants: {s: {}, m: {}}", "xyz", "variants", "'net' has no variant 'xyz'", "there are s, m"),
    (
        "variants: {a: {depth: [1, 2], down: [id, id, id, id], 'stages[0].dim': 3}}",
        "a",
        "[1, 2]",
        "column 'depth' has 2 entries, 'dim' has 4",
        "one entry a stage, or one value for all",
    ),
]


@pytest.mark.parametrize(("added", "variant", "marked", "message", "hint"), FILES, ids=[f[0] for f in FILES])
def test_messages_of_variants(added: str, variant: str | None, marked: str, message: str, hint: str):
    with pytest.raises(SpecError) as caught:
        resolve(load_text(BASE + added + "\n"), variant)
    problem = caught.value.problems[0]
    assert problem.message == message
    assert problem.hint == hint
    assert problem.span is not None
    assert problem.span.content == marked


def test_a_spec_without_variants():
    with pytest.raises(SpecError, match="'net' has no variant 'tiny'"):
        resolve(spec(), "tiny")


@pytest.mark.parametrize("text", ["head = 5", "stem = id"])
def test_a_name_of_a_section_and_of_a_column(text: str):
    """An edit of the section could have meant the column: it is refused; one stage of the column can be edited."""
    name = text.split()[0]
    columns = f"  depth: [1, 1]\n  {name}: 4\n  body: depth * pw({name})\n"
    net = load_text(f"name: n\ninput: image(3, 8)\nstem: pw(8)\nstages:\n{columns}head: global_pool\n")
    with pytest.raises(SpecError, match=f"'{name}' is both a section and a binding of 'n'") as caught:
        apply(net, parse_edits([text]))
    assert caught.value.problems[0].hint == "a binding or column with the name of a section cannot be edited: rename it"
    assert apply(net, parse_edits([f"stages[0].{name} = 5"])).columns[name].body.items[0].value == 5


def test_a_network_without_stages():
    flat = load_text("name: flat\ninput: image(3, 8)\nlet: {token: id}\nmodel: token\n")
    assert stage_count(flat) == 0
    with pytest.raises(SpecError, match="this network has no `stages`"):
        apply(flat, parse_edits(["stages[0].token = id"]))


@pytest.mark.parametrize("count", [MAX_SETS - 2, MAX_SETS + 1, 2000])
def test_a_long_line_of_variants(count: int):
    lines = ["variants:", "  v0: {}", *(f"  v{i}: {{of: v{i - 1}}}" for i in range(1, count))]
    base = load_text(BASE + "\n".join(lines) + "\n")
    if count < MAX_SETS:
        assert resolve(base, f"v{count - 1}").variant == f"v{count - 1}"
    else:
        with pytest.raises(SpecError, match=f"stands below more than {MAX_SETS} others"):
            resolve(base, f"v{count - 1}")


def test_variants_that_double_and_double():
    lines = ["variants:", "  v0: {}", *(f"  v{i}: {{of: [v{i - 1}, v{i - 1}]}}" for i in range(1, 60))]
    with pytest.raises(SpecError, match=f"made of more than {MAX_SETS} variants and traits"):
        resolve(load_text(BASE + "\n".join(lines) + "\n"), "v59")


def test_every_message_is_read():
    said = [m[2] for m in MESSAGES] + [f[3] for f in FILES]
    said += [
        "'head' is both a section and a binding of 'n'",
        "'v' stands below more than 9 others",
        "'v' is made of more than 9 variants and traits",
    ]
    source = Path(module.__file__).read_text(encoding="utf-8")
    for words in re.findall(r'(?:error|Problem)\(\s*f?"([^"]+)"', source):
        pattern = re.sub(r"\\{.*?\\}", ".*", re.escape(words))
        assert any(re.fullmatch(pattern, message) for message in said), words
