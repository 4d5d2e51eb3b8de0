"""Canonical form with comments: nothing is lost, nothing moves the second time, the shipped files are in it."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from metablock.errors import MetablockError, SpecError
from metablock.language.format import format_text, formatted, show_spec
from metablock.language.format.comments import comments_of
from metablock.language.load import load_text
from metablock.language.resources import architectures
from metablock.language.yaml import read_file

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [*architectures().values(), *sorted((ROOT / "examples").glob("*.yaml"))]
SKETCHES = sorted((Path(__file__).parent / "sketches").glob("*.yaml"))


def body(text: str) -> str:
    """A text around some lines of `let`."""
    return f"name: n\ninput: image(3, 8)\n\nlet:\n{text}\nstages: {{depth: 1, dim: 8, body: x}}\n"


def let(text: str) -> str:
    """What becomes of lines of `let`."""
    return format_text(body(text)).split("let:\n")[1].split("\n\nstages:")[0]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_in_it(path: Path):
    assert formatted(read_file(path)) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SKETCHES, ids=lambda path: path.stem)
def test_a_second_time_changes_nothing(path: Path):
    text = path.read_text(encoding="utf-8")
    once = format_text(text)
    assert format_text(once) == once
    assert load_text(once) == load_text(text)


def test_order_spacing_and_columns():
    text = """\
stages: {depth: [2, 2], dim: [8,16], body: "depth*(dw(3)>>linear( c ))"}
input:   image(3,32)
init: {}
name: 'n'
variants:
    a: {}
    longer: { of: a,depth: [1,1], input: "image(3, 64)" }
facts: [[variant, params], [a, 1], [longer, 22]]
let: {e: 2**(index+1), f: 2 ** index}
"""
    assert (
        format_text(text)
        == """\
metablock: 1
name: n
input: image(3, 32)

let:
  e: 2 ** (index + 1)
  f: 2**index

stages:
  depth: [2, 2]
  dim:   [8, 16]
  body:  depth * (dw(3) >> linear(c))

variants:
  a:      {}
  longer: {of: a, depth: [1, 1], input: "image(3, 64)"}

facts:
  - [variant, params]
  - [a,            1]
  - [longer,      22]
"""
    )


def test_comments_stay_where_they_belong():
    text = """\
# The file.
input: image(3, 8)   #the input
name: n
# of let
let:    # behind let

  a: dw(3) # behind a


  # above b
  b: [id,   # behind the first
      dw(3)]
  # at the end of let
# above stages
stages: {depth: 1, dim: 8, body: a}
# at the end
"""
    assert (
        format_text(text)
        == """\
# The file.

metablock: 1
name: n
input: image(3, 8)  # the input

# of let
let:        # behind let
  a: dw(3)  # behind a

  # above b
  b:
    - id  # behind the first
    - dw(3)
  # at the end of let

# above stages
stages:
  depth: 1
  dim:   8
  body:  a
# at the end
"""
    )


def test_comments_in_expressions():
    before = """\
  f(x): |   # of f
    # first
    x, y ->
    x = x >> dw(3)      # three
    x = x >> dw(5) >>   # five,
      dw(7)             # seven

    # last
    return x, y
    # below
"""
    assert (
        let(before)
        == """\
  f(x): |             # of f
    # first
    x, y ->
    x = x >> dw(3)    # three
    x = x >> dw(5) >> # five,
      dw(7)           # seven

    # last
    return x, y
    # below""".replace(">> #", ">>  #")
        .replace("# of f", " # of f")
        .replace("# three", " # three")
        .replace("# seven", " # seven")
    )


def test_an_expression_that_becomes_one_line_keeps_its_comments():
    assert let("  a: |\n    # why\n    dw(3) >> (dw(5))  # how\n") == "  # why\n  a: dw(3) >> dw(5)  # how"


def test_a_break_without_a_comment_goes():
    assert let("  a:\n    dw(3)\n    >> dw(5)\n") == "  a: dw(3) >> dw(5)"


def test_long_lines_break_before_an_arrow():
    lines = let(f"  a: {' >> '.join(['res(dw(3), scale=1e-5)'] * 9)}\n").split("\n")
    assert lines[0] == "  a: |"
    assert [line.split("res")[0] for line in lines[1:]] == ["    ", "      >> "]
    assert all(len(line) <= 130 for line in lines)


def test_aliases_are_written_out():
    assert let("  a: &x dw(3)\n  b: *x\n") == "  a: dw(3)\n  b: dw(3)"


def test_windows_line_ends_become_ordinary():
    text = body("  a: dw(3)  # a\n")
    assert format_text(text.replace("\n", "\r\n")) == format_text(text)


def test_a_hash_in_a_string_is_no_comment():
    text = body('  a: |\n    f("# x",\n      "y")\n')
    assert comments_texts(text) == []
    assert let('  a: |\n    f("# x", "y")\n') == '  a: f("# x", "y")'


def comments_texts(text: str) -> list[str]:
    from metablock.errors import Text
    from metablock.language.yaml import read

    return [comment.text for comment in comments_of(read(Text("t", text))) if comment.text]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("name: n  # whose\n", "metablock: 1\nname: n  # whose\n"),
        ("# The file.\n# More of it.\nname: n\n", "# The file.\n# More of it.\nmetablock: 1\nname: n\n"),
        ("# The file.\n\nname: n\n", "# The file.\n\nmetablock: 1\nname: n\n"),
        ("# The file.\nmetablock: 1\nname: n\n", "# The file.\nmetablock: 1\nname: n\n"),
        ("# The name.\nname: n\n# Which.\nmetablock: 1 # this\n", "# The name.\n\n# Which.\nmetablock: 1  # this\nname: n\n"),
    ],
)
def test_the_revision_stands_first(head: str, expected: str):
    """Also where the file did not state it, and then below what stands at the file's top."""
    rest = "input: image(3, 8)\n\nstages:\n  depth: 1\n  dim:   8\n  body:  dw(3)\n"
    text = format_text(head + rest)
    assert text == expected + rest
    assert format_text(text) == text


def with_comments(dice: random.Random) -> str:
    """A file into which comments and blank lines are thrown."""
    path = dice.choice([path for path in [*SHIPPED, *SKETCHES] if path.stat().st_size < 6000])
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if dice.random() < 0.15:
            lines.append(" " * dice.choice([0, 2, 4, 6]) + f"# own {len(lines)}")
        if dice.random() < 0.1:
            lines.append("")
        if dice.random() < 0.2 and line.strip() and "#" not in line:
            line += f"  # behind {len(lines)}"
        elif dice.random() < 0.15 and ", " in line and "#" not in line:
            at = line.index(", ") + 1
            lines.append(f"{line[:at]}  # between {len(lines)}")
            line = " " * (len(line) - len(line.lstrip()) + 4) + line[at + 1 :]
        lines.append(line)
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(20))
def test_comments_anywhere(seed: int):
    """All of them come through, and a second time changes nothing."""
    dice = random.Random(seed)
    for _ in range(20):
        text = with_comments(dice)
        with suppress(SpecError):  # a comment where YAML has none: another try
            spec = load_text(text)
            break
    else:
        pytest.fail("no file of 20 can be read")
    once = format_text(text)
    assert sorted(comments_texts(once)) == sorted(comments_texts(text))
    assert load_text(once) == spec
    assert format_text(once) == once


def test_what_is_printed_is_in_it():
    for path in SHIPPED[:6]:
        text = show_spec(load_text(path.read_text(encoding="utf-8")))
        assert format_text(text) == text


def test_no_spec():
    with pytest.raises(SpecError, match="unknown section"):
        format_text("name: n\ninput: image(3, 8)\nstage: {}\n")


def test_a_loss_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("metablock.language.format.attach", lambda *_: None)
    with pytest.raises(MetablockError, match=r"without a loss\n  it stays"):
        format_text(body("  a: dw(3)  # lost\n"))
