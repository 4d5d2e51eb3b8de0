"""The form of a file: every message of `load.py`, with its place; what stands where; how long it takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from work import calls

from metablock.errors import SpecError
from metablock.language import ast as e
from metablock.language import load
from metablock.language.load import load_bindings, load_file, load_text
from metablock.language.parser import expression
from metablock.language.resources import architectures
from metablock.language.spec import REVISIONS, UNSTATED, Binding, Rule, Spec

START = "name: small\ninput: image(3, 64)\n"
STAGES = "stages: {depth: 2, body: depth * conv(8)}\n"
SKETCHES = Path(__file__).parent / "sketches"

# What is added to a file that is well, what the message marks, the message, the hint.
MESSAGES = [
    ("staegs: {depth: 2}", "staegs", "unknown section 'staegs'", "did you mean 'stages'?"),
    ("width: 3", "width", "unknown section 'width'", "names of your own stand under `let`"),
    ("metablock: 2", "2", "this file is written in revision 2 of the language", "this version of metablock reads revision 1: upgrade it"),
    ("metablock: one", "one", "the revision of the language is a whole number", "write `metablock: 1`"),
    ("metablock: [1]", "[1]", "the revision of the language is a whole number", "write `metablock: 1`"),
    ("metablock: 1.0", "1.0", "the revision of the language is a whole number", "write `metablock: 1`"),
    ("metablock:", "", "the revision of the language is a whole number", "write `metablock: 1`"),
    ("let: {a: {shared: {f: relu}}}", "{shared: {f: relu}}", "an expression is expected here, not a mapping",
     "a block has them as lines of a stream: `shared f = ...`, `let f = ...`, then `return ...`"),
    ("head: {a: b}", "{a: b}", "an expression is expected here, not a mapping", "a mapping needs a key that is made for it"),
    ("let: {a: {b: c}}", "{b: c}", "an expression is expected here, not a mapping", "a mapping needs a key that is made for it"),
    ("head: f(", "(", "this '(' is never closed", "close it, after what belongs to it"),
    ("head:", "", "an expression is missing", "write `id` for a module that does nothing, `none` for one that is not there"),
    ("paper: {title: [a]}", "[a]", "a word is expected here", "write plain text, or text in quotes"),
    ("paper: {tilte: a}", "tilte", "unknown key 'tilte' in `paper`", "did you mean 'title'?"),
    ("paper: {xyz: a}", "xyz", "unknown key 'xyz' in `paper`", "known: title, venue, year, arxiv, code, authors, note"),
    ("paper:", "", "`paper` is empty", "leave the key out, or give it entries"),
    ("paper: a", "a", "`paper` must be a mapping", "write `key: value` lines below it"),
    ("let: [a, b]", "[a, b]", "a table of bindings must be a mapping", "write `key: value` lines below it"),
    ("shared: x", "x", "a table of bindings must be a mapping", "write `key: value` lines below it"),
    ("let: {f(x): a, f: b}", "f", "'f' is bound twice", "give one of them another name"),
    ("let: {f(: b}", "(", "this '(' is never closed", "close it, after what belongs to it"),
    ("init: torch", "torch", "`init` must be a mapping", "write `key: value` lines below it"),
    ("weights: timm", "timm", "`weights` must be a mapping", "write `key: value` lines below it"),
    ("weights: {timm: x}", "x", "a table of weight rules must be a mapping", "write `key: value` lines below it"),
    ("weights: {timm: {a.*: [b]}}", "[b]", "a word is expected here", "write plain text, or text in quotes"),
    ("weights: {timm: {of: tim}}", "tim", "weights 'timm' start from unknown 'tim'", "name another table of `weights`"),
    ("weights: {timm: {}, own: {of: tim}}", "tim", "weights 'own' start from unknown 'tim'", "did you mean 'timm'?"),
    ("weights: {timm: {of: timm}}", "timm", "weights 'timm' start from unknown 'timm'", "name another table of `weights`"),
    ("variants: x", "x", "a table of variants must be a mapping", "write `key: value` lines below it"),
    ("traits:", "", "a table of variants is empty", "leave the key out, or give it entries"),
    ("variants: {tiny: x}", "x", "'tiny' must be a mapping", "write `key: value` lines below it"),
    ("variants: {tiny: {of: {a: b}}}", "{a: b}", "a word is expected here", "write plain text, or text in quotes"),
    ("variants: {tiny: {2x: b}}", "2", "unexpected '2'", "a key is a name, or a name with parameters: `ffn(r=4)`"),
    (
        "variants: {tiny: {a: {b: c}}}", "{b: c}", "an expression is expected here, not a mapping",
        "a mapping needs a key that is made for it",
    ),
    ("variants: {tiny: {let: [a]}}", "[a]", "a table of bindings must be a mapping", "write `key: value` lines below it"),
    (
        "variants: {tiny: {stages: {depth: 1, shared: {table: a}}}}", "table", "a variant's `stages` have no `shared`",
        "stand it in the file's own `stages`, and edit the module by its name",
    ),
    ("facts: x", "x", "`facts` is a table", "a list of rows `- [variant, params, ...]`, the first of them the header"),
    ("facts: [a, b]", "[", "`facts` is a table", "a list of rows `- [variant, params, ...]`, the first of them the header"),
    ("facts: [[variant, parms]]", "parms", "unknown column 'parms' in `facts`", "did you mean 'params'?"),
    ("facts: [[variant, macs, macs]]", "macs", "the column 'macs' stands twice in `facts`", "keep one of the two"),
    ("facts: [[params, variant]]", "params", "`facts` begins with the column 'variant'", "its rows are found by it"),
    ("facts: [[variant, params], [small, 1], [small, 2]]", "[small, 2]", "`facts` has two rows for 'small'", "keep one of the two"),
    ("facts: [[variant, params], [small, 5M]]", "5M", "'5M' is no count", "`params` is exact: a whole number, or `-`"),
    ("facts: [[variant, params], [small, ]]", ",", "an entry of this list is empty", "write what is missing, or remove the comma or dash"),
    ("variants: {b: {of: [a, ]}}", ",", "an entry of this list is empty", "write what is missing, or remove the comma or dash"),
    ("weights: {a: {ignore: [a,]}}", ",", "an entry of this list is empty", "write what is missing, or remove the comma or dash"),
    ("facts: [[variant, params], [a]]", "[a]", "1 cell under a header of 2", "write `-` for what is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("added", "marked", "message", "hint"), MESSAGES, ids=[m[0] for m in MESSAGES])
def test_messages(added: str, marked: str, message: str, hint: str):
    text = START + STAGES + added + "\n"
    with pytest.raises(SpecError) as caught:
        load_text(text, "file.yaml")
    [problem] = caught.value.problems
    assert problem.message == message
    assert problem.hint == hint
    assert problem.span is not None
    assert problem.span.content.strip() == marked
    line, column = problem.span.text.place(problem.span.start)
    assert (line, column) == (4, added.rindex(marked) + 1 if marked else len(added) + 1)


# Whole files, and where in them it stands.
FILES = [
    ("a: b", [("1:1", "unknown section 'a'"), ("1:1", "the section 'name' is missing"), ("1:1", "the section 'input' is missing"),
              ("1:1", "there are neither `stages` nor a `model`")]),
    ("name: a\n" + STAGES, [("1:1", "the section 'input' is missing")]),
    ("input: image(3, 8)\nmodel: id", [("1:1", "the section 'name' is missing")]),
    (START, [("1:1", "there are neither `stages` nor a `model`")]),
    (START + "stages: {}", [("1:1", "there are neither `stages` nor a `model`")]),
    (START + "stages: {body: (a}", [("3:16", "this '(' is never closed")]),
    (START + "stages: {body: \"(a\"}", [("3:17", "this '(' is never closed")]),
    ("metablock: 3\nname: a\nnew_section: 1", [("1:12", "this file is written in revision 3 of the language")]),
    (START + "stages: 3", [("3:9", "`stages` must be a mapping")]),
    (START + "stages: [{depth: 2}, {dim: 3}]", [("3:10", "this stage has no 'dim', others have"),
                                                ("3:22", "this stage has no 'depth', others have")]),
    (START + "stages: [3]", [("3:10", "a stage must be a mapping")]),
    (START + STAGES + "head: a b\nstem: f(\nlet: {x: 1 2}", [("4:9", "an operator is missing before 'b'"),
                                                             ("5:8", "this '(' is never closed"),
                                                             ("6:12", "an operator is missing before '2'")]),
    (START + "model: |\n  x ->\n  y = x >> f(\n  return y", [("6:3", "'return' cannot stand here")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_problems_of_a_file(text: str, expected: list[tuple[str, str]]):
    with pytest.raises(SpecError) as caught:
        load_text(text, "file.yaml")
    found = []
    for problem in caught.value.problems:
        assert problem.span is not None
        assert problem.hint
        found.append(("{}:{}".format(*problem.span.text.place(problem.span.start)), problem.message))
    assert sorted(found) == sorted(expected)


def test_every_message_is_read():
    said = [message for *_, message, _ in MESSAGES] + [message for _, expected in FILES for _, message in expected]
    said += ["'stem[0]' is no part of a network"]  # in test_every_mistake
    source = Path(load.__file__).read_text(encoding="utf-8")
    for words in re.findall(r'(?:self\.wrong|error)\(\s*f?"([^"]+)"', source):
        pattern = re.sub(r"\\{.*?\\}", ".*", re.escape(words))
        assert any(re.fullmatch(pattern, message) for message in said), words


def test_the_revision():
    stated, unstated = load_text("metablock: 1\n" + START + STAGES), load_text(START + STAGES)
    assert stated == unstated
    assert stated.revision == UNSTATED == 1
    assert all(load_file(path).revision == REVISIONS[-1] for path in architectures().values())


def test_a_message_as_it_is_shown():
    with pytest.raises(SpecError) as caught:
        load_text(START + STAGES + "head: norm >> attn(\n", "vit.yaml")
    assert str(caught.value) == (
        "vit.yaml:4:19: this '(' is never closed\n"
        "    head: norm >> attn(\n"
        "                      ^\n"
        "  close it, after what belongs to it"
    )


# What stands where


def small(added: str = "") -> Spec:
    return load_text(START + STAGES + added)


def test_sections():
    spec = small("stem: conv(8)\nfreeze: stem\ninit: {linear: zeros}\nlet:\n  f(x): x\n  many: [a, b]\n")
    assert spec.name == "small"
    assert spec.inputs == {"input": expression("image(3, 64)")}
    assert spec.sections == {"stem": expression("conv(8)")}
    assert spec.freeze == ("stem",)
    assert spec.init == {"linear": e.Name("zeros")}
    assert spec.let["f"] == Binding(e.Header("f", (e.Parameter("x", None),)), e.Name("x"))
    assert spec.let["many"].body == e.List((e.Name("a"), e.Name("b")))
    assert [*spec.columns] == ["depth", "body"]
    assert small("freeze: [stem, stages.0.norm]\n").freeze == ("stem", "stages.0.norm")
    place = spec.place("stem")
    assert place is not None
    assert place.text.place(place.start) == (4, 1)


def test_several_inputs():
    spec = load_text("name: a\ninput:\n  image: image(3, 8)\n  mask: image(1, 8)\nmodel: id\n")
    assert [*spec.inputs] == ["image", "mask"]


def test_stages_as_rows_are_columns():
    rows = load_text(START + "stages:\n  - {depth: 2, dim: 8, body: a}\n  - {depth: 3, dim: 16, body: b, down: conv(dim)}\n")
    columns = load_text(START + "stages: {depth: [2, 3], dim: [8, 16], body: [a, b], down: [id, conv(dim)]}\n")
    assert rows == columns


def test_what_a_stage_shares():
    spec = load_text(START + "stages:\n  depth: 2\n  shared: {table: relative_bias}\n")
    assert [*spec.stage_shared] == ["table"]
    assert [*spec.columns] == ["depth"]


def test_variants():
    spec = small("traits: {wide: {dim: 8}}\nvariants: {a: {}, b: {of: [a, wide], 'stages[0].dim': 4, init: {linear: zeros}}}\n")
    assert [*spec.variants] == ["a", "b"]
    second = spec.variants["b"]
    assert second.of == ("a", "wide")
    assert second.edits[0].target == e.StageTarget(e.Number(0), "dim")
    assert second.init == {"linear": e.Name("zeros")}
    assert spec.traits["wide"].of == ()


def test_weights():
    spec = small("weights:\n  a: {x.*: y.*, ignore: [z, w]}\n  b: {of: a, ignore: z}\n")
    assert spec.weights["a"].rules == (Rule("x.*", "y.*"),)
    assert spec.weights["a"].ignore == ("z", "w")
    assert (spec.weights["b"].of, spec.weights["b"].ignore) == ("a", ("z",))


def test_facts():
    spec = small("variants: {a: {}}\nfacts:\n  - [variant, params, macs]\n  - [a, 12, -]\n")
    assert spec.facts.of("a") == {"params": "12"}
    assert spec.facts.of("b") == {}


def test_bindings_of_the_standard_library():
    table = load_bindings("# a\nf(x): x >> g\n", "standard.yaml")
    assert table["f"].body == expression("x >> g")
    with pytest.raises(SpecError, match=r"standard\.yaml:1:5: nothing stands"):
        load_bindings("f: (>> g)\n", "standard.yaml")


def test_a_spec_is_data(tmp_path: Path):
    path = tmp_path / "net.yaml"
    path.write_text(START + STAGES)
    assert load_file(path) == small()
    assert load_file(str(path)) == small()


@pytest.mark.parametrize("path", sorted(SKETCHES.glob("*.yaml")), ids=lambda path: path.stem)
def test_sketches(path: Path):
    spec = load_file(path)
    assert spec.name == path.stem
    assert spec.variants
    assert [row[0] for row in spec.facts.rows] == [*spec.variants]


def test_the_sketches_are_there():
    """Of papers that the catalogue has, and of these besides."""
    besides = {path.stem for path in SKETCHES.glob("*.yaml")} - architectures().keys()
    assert besides == {
        "agent_attention_deit", "agent_attention_pvt", "dat_pp", "poolformer",
    }  # fmt: skip


# Work


def test_the_work_grows_with_the_text():
    """The largest file at hand, once the grammar is read: 11 calls of functions a character."""
    path = max([*architectures().values(), *SKETCHES.glob("*.yaml")], key=lambda path: path.stat().st_size)
    load_file(path)
    assert calls(lambda: load_file(path)) < 15 * path.stat().st_size


def test_the_first_file_is_quick():
    """Nothing that takes long to import is imported."""
    code = (
        "import sys; import metablock.language.load as load; load.load_text(sys.argv[1]);"
        "print(sorted({'torch', 'numpy', 'pydantic', 'rich', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, START + STAGES], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "body", ["[f(x, {b: 2}), relu]", "[relu, f(x, {b: [2, 3]}, y)]", "{c: f(x, {b: 2})}", "{f(x, {b: 2}): c}"]
)
def test_a_cut_call_with_braces_is_one_mistake(body: str):
    with pytest.raises(SpecError) as caught:
        load_text(f"name: n\ninput: image(3, 32)\nstages:\n  body: {body}\n")
    assert [p.message for p in caught.value.problems] == ["a call with several arguments may not stand inside [ ] or { }"]
