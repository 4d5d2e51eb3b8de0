"""All mistakes of a file are reported at once, each once, in the order of the text; one mistake hides and causes no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from metablock.report.check import check

TEN = """\
name: ten
input: image(3, 32)
let:
  act: gelo
  wide: conv(64 >> relu
  first(x: relu
  gate: id & sigmoid
  norm: layer_norm(epsilon=1e-6)
  spare: relu
stages:
  dim: [8, 16, 32]
  depth: [1, 1, 1]
  down: [id, conv(dim, 2), id]
  body: depth * (res(norm >> gate >> first) >> act)
haed: wide >> layernom >> linear(classes)
variants:
  small: {deth: [1, 1, 1]}
  large:
    depth: [2, 2, 2
  huge: {depth: [3, 3, 3]}
facts:
  - [variant, params]
  - [smal, 100]
"""

# The line and the beginning of each message.
WRONG = [
    (4, "unknown name 'gelo'"),
    (5, "this '(' is never closed"),
    (6, "this '(' is never closed"),
    (7, "'&' is not an operator"),
    (8, "'layer_norm' has no argument 'epsilon'"),
    (9, "the binding 'spare' is never used"),
    (13, "a call with several arguments may not stand inside [ ] or { }"),
    (15, "unknown section 'haed'"),
    (15, "unknown name 'layernom'"),
    (17, "'deth' names no slot or column of 'ten'"),
    (19, "this '[' is never closed"),
    (23, "facts of an unknown variant 'smal'"),
]


def report(text: str, folder: Path) -> list[tuple[int, str, str | None]]:
    path = folder / "net.yaml"
    path.write_text(text)
    return [(p.span.text.place(p.span.start)[0] if p.span else 0, p.message, p.hint) for p in check(str(path))]


def test_mistakes_of_every_kind_are_reported_each_once(tmp_path: Path) -> None:
    reported = report(TEN, tmp_path)
    assert [line for line, _, _ in reported] == [line for line, _ in WRONG], reported
    for (_, message, _), (_, beginning) in zip(reported, WRONG, strict=True):
        assert message.startswith(beginning)


NET = """\
name: net
input: image(3, 32)
let:
  one: {one}
  two: conv(8, 3)
model: one >> two >> {rest}
"""


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("conv(8 >> relu", "this '(' is never closed"),
        ("relu >>", "the expression ends after '>>'"),
        ("[relu, conv(8", "this '[' is never closed"),
        ('"relu', "this quote is never closed"),
        ("a: b", "a second ': ' in one value"),
        ("*here", "unknown alias '*here'"),
        ("!relu id", "YAML tags are not allowed"),
        ("{relu: 3}", "an expression is expected here, not a mapping"),
        ("% relu", "text may not begin with '%'"),
        ("\trelu", "a tab may not stand here"),
    ],
)
def test_a_mistake_of_form_hides_and_causes_no_other(broken: str, message: str, tmp_path: Path) -> None:
    reported = report(NET.format(one=broken, rest="reul >> linear(10, biass=false)"), tmp_path)
    assert [(line, text) for line, text, _ in reported] == [
        (4, message),
        (6, "unknown name 'reul'"),
        (6, "'linear' has no argument 'biass'"),
    ]


def test_shapes_before_what_cannot_be_read_are_checked(tmp_path: Path) -> None:
    text = NET.format(one="conv(8) >> linear(", rest="relu").replace("model: ", "model: conv(8, 3, groups=2) >> ")
    assert report(text, tmp_path)[0][0] == 4
    stages = (
        "name: n\ninput: image(3, 8)\nlet:\n  two: conv(8 >>\nstages:\n  body: conv(8, 3, groups=2) >> two >> group_norm(7)\n"
    )
    reported = report(stages, tmp_path)
    assert [line for line, _, _ in reported] == [4, 6]
    assert "groups" in reported[1][1]


def test_what_a_broken_entry_uses_is_not_unused(tmp_path: Path) -> None:
    text = "name: n\ninput: image(3, 8)\nlet:\n  a: relu\n  b: a >> conv(8\nmodel: b\n"
    assert [line for line, _, _ in report(text, tmp_path)] == [5]


def test_what_a_broken_key_binds_is_not_unknown(tmp_path: Path) -> None:
    text = "name: n\ninput: image(3, 8)\nlet:\n  a(n=: conv(n)\nmodel: a(3) >> a(n=3)\n"
    assert [line for line, _, _ in report(text, tmp_path)] == [4]


def test_a_line_without_a_colon_hides_and_causes_no_other(tmp_path: Path) -> None:
    text = "name: n\ninput: image(3, 8)\nlet:\n  a: relu\n  b conv(3)\n  d: gelo\nmodel: a >> b >> d\n"
    assert [(line, message) for line, message, _ in report(text, tmp_path)] == [
        (5, "a ':' is missing after this key"),
        (6, "unknown name 'gelo'"),
    ]


def test_two_mistakes_of_form_are_two_problems(tmp_path: Path) -> None:
    text = 'name: n\ninput: image(3, 8)\nlet:\n  a: [relu, 3\n  b: "gelu\n\nstages:\n  body: a: b\n  down: }\nhead: gelo\n'
    lines = [line for line, _, _ in report(text, tmp_path)]
    assert lines == [4, 5] or lines == [4, 5, 8, 9, 10]


def test_a_misspelt_section_is_read_as_what_it_resembles(tmp_path: Path) -> None:
    text = "name: n\ninput: image(3, 8)\nlet: {a: relu}\nmodle: a >> gelo\n"
    assert report(text, tmp_path) == [
        (4, "unknown section 'modle'", "did you mean 'model'?"),
        (4, "unknown name 'gelo'", "did you mean 'gelu'?"),
    ]


def test_an_unknown_section_uses_its_words(tmp_path: Path) -> None:
    text = "name: n\ninput: image(3, 8)\nlet: {a: relu}\nbackbone: a\nmodel: gelo\n"
    assert [line for line, _, _ in report(text, tmp_path)] == [4, 5]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("freeze: [stem]", "'stem' in `freeze` is no part of this network"),
        ("freeze: 'stem[0]'", "'stem[0]' is no part of a network"),
        ("loss: relu", "`loss` is a stream that names what it reads"),
        ("loss: logits -> logits", "`loss` reads 'logits', which is neither an output nor an input"),
        ("loss: output -> output", "the loss 'loss' is no number but map 3 x 8x8"),
    ],
)
def test_a_mistake_of_training_is_one_problem(section: str, message: str, tmp_path: Path) -> None:
    [(line, said, _)] = report(f"name: n\ninput: image(3, 8)\nmodel: relu\n{section}\n", tmp_path)
    assert (line, said) == (4, message)


def test_a_reserved_word_is_one_problem(tmp_path: Path) -> None:
    text = "name: n\ninput: image(3, 8)\nlet:\n  layers: 4\n  block: layers * conv(8)\nmodel: block >> layers\n"
    assert [line for line, _, _ in report(text, tmp_path)] == [4]


def test_a_column_named_like_a_section_hides_no_other(tmp_path: Path) -> None:
    text = "name: n\ninput: image(3, 8)\nstages: {head: [2, 2], body: gelo >> conv(head) >> conv(8, 3, groups=3)}\nhead: global_pool\n"
    lines = [(line, message) for line, message, _ in report(text.replace("conv(8, 3, groups=3)", "lin(8)"), tmp_path)]
    assert (3, "unknown name 'gelo'") in lines and len(lines) == 3, lines
