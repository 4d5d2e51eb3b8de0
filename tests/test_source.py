"""The reader: what it gives, where things stand, and each of its messages (``ERRORS`` is the table of malformed examples)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work import calls

from metablock.errors import SpecError, Text
from metablock.language.yaml import Limits, Mapping, Node, Scalar, Sequence, read, read_file, read_mended, reader, syntax

SMALL = """\
name: metaformer  # the first
paper: {title: "A: B, \\"C\\"", year: 2024, code: a/b}
let:
  lin(n, k=1): linear(n, bias=false)  # a comment
  path(i, j):                             # what output i takes
    cb(w(i), 1) >> upsample(2**(j-i)) if j > i else
    (i-j-1) * cbr(c, stride=2) if j < i else id
stages:
  depth: [3, 3, 9, 3]
  down:
  - id
  - conv(dim, 3, stride=2)
"""
LARGE = """\
input: 'it''s'
set: &base {eps: 1e-6, drop: ramp(0.1)}
body: |
  x, z ->

  z = z >> l2g(x)   # text, too
  return x, z

note: >-
  folded
  text
variants:
  s12: {}
  s24: *base
  empty:
"""
DEFAULT = Limits()
LONG = Limits(size=1 << 20)


def spec(content: str, limits: Limits = DEFAULT) -> Mapping:
    return read(Text("spec.yaml", content), limits)


def fails(content: str, limits: Limits = DEFAULT) -> SpecError:
    with pytest.raises(SpecError) as caught:
        spec(content, limits)
    return caught.value


def messages(problems: SpecError) -> list[str]:
    result = []
    for problem in problems.problems:
        assert problem.span is not None
        line, column = problem.span.text.place(problem.span.start)
        result.append(f"{line}:{column}: {problem.message}")
    return result


def scalars(node: Node) -> Iterator[Scalar]:
    match node:
        case Scalar():
            yield node
        case Sequence():
            for item in node.items:
                yield from scalars(item)
        case Mapping():
            for key, value in node.entries:
                yield key
                yield from scalars(value)


def plain(node: Node | None) -> object:
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key.value: plain(value) for key, value in node.entries}
    return None


def at(node: Node | None, *path: str | int) -> Scalar:
    for step in path:
        if isinstance(node, Mapping):
            assert isinstance(step, str)
            node = node.get(step)
        else:
            assert isinstance(node, Sequence)
            assert isinstance(step, int)
            node = node.items[step]
    assert isinstance(node, Scalar)
    return node


# What it gives


def test_structure() -> None:
    assert plain(spec(SMALL)) == {
        "name": "metaformer",
        "paper": {"title": 'A: B, "C"', "year": "2024", "code": "a/b"},
        "let": {
            "lin(n, k=1)": "linear(n, bias=false)",
            "path(i, j)": "cb(w(i), 1) >> upsample(2**(j-i)) if j > i else (i-j-1) * cbr(c, stride=2) if j < i else id",
        },
        "stages": {"depth": ["3", "3", "9", "3"], "down": ["id", "conv(dim, 3, stride=2)"]},
    }
    assert plain(spec(LARGE)) == {
        "input": "it's",
        "set": {"eps": "1e-6", "drop": "ramp(0.1)"},
        "body": "x, z ->\n\nz = z >> l2g(x)   # text, too\nreturn x, z\n",
        "note": "folded text",
        "variants": {"s12": {}, "s24": {"eps": "1e-6", "drop": "ramp(0.1)"}, "empty": ""},
    }


WORDS = ["1e-6", "no", "on", "null", "~", "2024-01-01", "0x10", "1_000", ".inf", "True", "12:30", "=", "0o7"]


@pytest.mark.parametrize("word", WORDS)
def test_everything_stays_text(word: str) -> None:
    assert plain(spec(f"a: {word}\nb: [{word}]\n{word}: c")) == {"a": word, "b": [word], word: "c"}


def test_empty_values_are_empty_text() -> None:
    assert plain(spec("a:\nb: {c: , d: }\ne:\n-\n- f")) == {"a": "", "b": {"c": "", "d": ""}, "e": ["", "f"]}
    assert at(spec("a:\nb: 1"), "a") == Scalar(at(spec("a:"), "a").span, at(spec("a:"), "a").span, "", "plain")


def test_styles() -> None:
    tree = spec("a: b\nc: 'd'\ne: \"f\"\ng: |\n  h\ni: >\n  j\nk: [l]\nm: {n: o}\n")
    assert [at(tree, key).style for key in "acegi"] == ["plain", "single", "double", "literal", "folded"]
    flows = [value.flow for value in (tree, tree.get("k"), tree.get("m")) if not isinstance(value, Scalar) and value]
    assert flows == [False, True, True]


def test_get_and_keys() -> None:
    tree = spec(SMALL)
    assert tree.keys() == ("name", "paper", "let", "stages")
    assert tree.get("nope") is None


def test_places_do_not_count_in_comparisons() -> None:
    assert spec("a: [b, c]") == spec("\n\na:   [b,\n c]")
    assert spec("a: [b, c]") != spec("a: [b, d]")
    assert hash(spec("a: [b]")) == hash(spec(" a: [b]"))


def test_one_document_may_be_marked() -> None:
    assert plain(spec("---\na: b\n...\n")) == {"a": "b"}


def test_aliases_are_shared() -> None:
    tree = spec("a: &x [b]\nc: *x\nd: &y e\nf: [*y, *x]")
    assert tree.get("a") is tree.get("c")
    assert plain(tree) == {"a": ["b"], "c": ["b"], "d": "e", "f": ["e", ["b"]]}


def test_no_torch() -> None:
    code = "import sys, metablock.language.yaml; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


# Places


def test_contents_are_raw_slices() -> None:
    tree = spec(SMALL)
    assert at(tree, "name").content.content == "metaformer"
    assert at(tree, "paper", "title").content.content == 'A: B, \\"C\\"'
    assert at(tree, "paper", "title").span.content == '"A: B, \\"C\\""'
    assert at(tree, "let", "lin(n, k=1)").content.content == "linear(n, bias=false)"
    path = at(tree, "let", "path(i, j)").content.content
    assert path.startswith("cb(w(i), 1)")
    assert path.endswith("j > i else\n    (i-j-1) * cbr(c, stride=2) if j < i else id")
    tree = spec(LARGE)
    assert at(tree, "input").content.content == "it''s"
    assert at(tree, "set", "eps").content.content == "1e-6"
    assert at(tree, "body").content.content == "  x, z ->\n\n  z = z >> l2g(x)   # text, too\n  return x, z"
    assert at(tree, "body").span.content == "|\n" + at(tree, "body").content.content
    assert at(tree, "note").content.content == "  folded\n  text"
    drop = at(tree, "variants", "s24", "drop").span  # of an alias: where it is written
    assert drop.text.place(drop.start) == (2, 30)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: |\n\n\n  b\n    c\n\n\nd: 1", "  b\n    c"),
        ("a: |-\n  b", "  b"),
        ("a: |2+\n    b\n\n", "    b"),
        ("a: | # comment\n  b # text\n# comment\n", "  b # text"),
        ("a: |\nb: 1", ""),
        ("a: |", ""),
        ("a: |\n\n\n", ""),
        ("a: &x  # comment\n  b c  # comment", "b c"),
        ("a: &x 'b c'", "b c"),
        ("a: &x\nb: 1", ""),
        ("a: ''", ""),
        ("a: b\n\n c   \n  # d", "b\n\n c"),
    ],
)
def test_contents(content: str, expected: str) -> None:
    assert at(spec(content), "a").content.content == expected


def test_spans_of_collections() -> None:
    tree = spec("a: &x [b,\n c]  # d\ne:\n  - f\n  - *x\n\n# g\nh: {i: j}\nk:\n- l: m\n  n: o\n- p\n\n")
    spans = [value.span.content for _, value in tree.entries]
    assert spans == ["[b,\n c]", "- f\n  - *x", "{i: j}", "- l: m\n  n: o\n- p"]
    assert tree.span.content.startswith("a: &x")
    assert tree.span.content.endswith("- p")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, mark: str, end: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes((mark + LARGE.replace("\n", end)).encode())
    tree = read_file(path)
    assert tree == spec(LARGE)
    for here, there in zip(scalars(tree), scalars(spec(LARGE)), strict=True):
        assert here.content.text.place(here.content.start) == there.content.text.place(there.content.start)
        assert here.content.content == there.content.content.replace("\n", end)
    path.write_bytes(f"{mark}a: b{end}a: c{end}".encode())
    with pytest.raises(SpecError) as caught:
        read_file(path)
    assert messages(caught.value) == ["2:1: the key 'a' is already in line 1"]
    path.write_bytes(f"{mark}a: [{end}".encode())
    with pytest.raises(SpecError) as caught:
        read_file(path)
    assert messages(caught.value) == ["1:4: this '[' is never closed"]


# Messages: the text, what is said where, a part of each hint

CUT = "a call with several arguments may not stand inside [ ] or { }"
LET = "YAML cuts it at the comma: name it in `let`, or write the list as `- ` lines"
KEY = "YAML cuts it at the comma: put the key in double quotes, or write `key: value` on a line of its own"
VALUE = "YAML cuts it at the comma: name it in `let`, or write `key: value` on a line of its own"
CONTINUES = "this line continues the value above, and may have no ': '"
BLOCK = "may not stand here: with it YAML begins a block of text"
TAGS = "YAML tags are not allowed"
ROOT = "1:1: a spec is a mapping: lines of `key: value`"

ERRORS: list[tuple[str, list[str], str]] = [
    # YAML that a spec may not use
    ("a: 1\nb: 2\n'a': 3", ["3:1: the key 'a' is already in line 1"], "keep one"),
    ("{a: 1, b: 2, a: 3}", ["1:14: the key 'a' is already in line 1"], "keep one"),
    ("a: !!python/object/apply:os.system [ls]", [f"1:4: {TAGS}"], "remove the tag"),
    ("a: !foo b\nc: !<x,y> {}\n! d: !e!f 1", [f"{at}: {TAGS}" for at in ("1:4", "2:4", "3:1", "3:6")], "plain data"),
    ("!a b: !c &d {e: !}\ng: &h !i j\nk: *h", [f"{at}: {TAGS}" for at in ("1:1", "1:7", "1:17", "2:7")], "plain"),
    ("a: {b: !}", [f"1:8: {TAGS}"], "remove the tag"),
    ("a: &x {}\nb:\n  <<: *x", ["3:3: YAML merges ('<<') are not allowed"], "write the keys out"),
    ("a: 1\n---\nb: 2", ["2:1: a second document begins here"], "one file holds one spec"),
    ("a: 1\n---", ["2:1: a second document begins here"], "one file holds one spec"),
    ("%YAML 1.1\n---\na: 1", ["1:1: a line may not begin with '%' (YAML's directives)"], "remove the line"),
    ("%FOO bar\n---\na: 1", ["1:1: a line may not begin with '%' (YAML's directives)"], "remove the line"),
    ("a: b\n% c", ["2:1: a line may not begin with '%' (YAML's directives)"], "indent it"),
    ("", ["1:1: the file is empty"], "name: ..."),
    ("# only\n\n", ["1:1: the file is empty"], "name: ..."),
    ("---\n...", ["1:1: the file is empty"], "name: ..."),
    ("- a", [ROOT], "name: ..."),
    ("- a\n-", [ROOT], "name: ..."),
    ("[a, b]", [ROOT], "name: ..."),
    ("a:1", [ROOT], "name: ..."),
    ("? [a]\n: b", ["1:3: a key must be a word"], "key: value"),
    ("? |\n  a\n: b", ["1:3: a key must be a word"], "key: value"),
    ("a: &x b\n*x : c", ["2:1: a key must be a word"], "key: value"),
    ("a: {{b}: c}", ["1:5: a key must be a word", "1:6: a ':' is missing after this key"], ""),
    ("'': b", ["1:1: a key is missing before this ':'"], "key: value"),
    (": b", ["1:1: a key is missing before this ':'"], "key: value"),
    ("a: {: b}", ["1:5: a key is missing before this ':'"], "key: value"),
    ("a: {b, c: 1}", ["1:5: a ':' is missing after this key"], "double quotes"),
    ("a: {b:1}", ["1:5: a ':' is missing after this key"], "a space after the colon"),
    ("? a", ["1:3: a ':' is missing after this key"], "key: value"),
    ("a: [b: c, d]", ["1:5: a key inside [ ] needs its own { }"], "{key: value}"),
    ("a: [? b : c]", ["1:5: a key inside [ ] needs its own { }"], "{key: value}"),
    ("base: &base b\na: *bsae", ["2:4: unknown alias '*bsae'"], "did you mean 'base'?"),
    ("a: [*x, y]", ["1:5: unknown alias '*x'"], "below `|`"),
    ("a: &a [*a]", ["1:8: the alias '*a' stands inside what it names"], "remove it"),
    ("a: &a {b: [*a]}", ["1:12: the alias '*a' stands inside what it names"], "remove it"),
    ("a: &x 1\nb: &x 2", ["2:4: the anchor '&x' is already in line 1"], "different names"),
    ('a: "b\\0"', ["1:4: the character U+0000 may not stand in a spec, not as an escape either"], "remove the escape"),
    ('a: "\\ud800"', ["1:4: the character U+D800 may not stand in a spec, not as an escape either"], "remove the escape"),
    ('a: "\\U99999999"', ["1:6: this escape stands for no character"], "remove it"),
    # Calls that YAML cuts
    ("a: {token: pool(3, 4)}", [f"1:12: {CUT}"], VALUE),
    ("a: [pool(3, 4), id]", [f"1:5: {CUT}"], LET),
    ("a: [f(x, [1,2])]", [f"1:5: {CUT}"], LET),
    ("a: [f(x, {b: 2}), c]", [f"1:5: {CUT}"], LET),
    ("a: [lin(n), id >> res(pool(3, k=4), x) >> id]", [f"1:23: {CUT}"], LET),
    ("a: [\n  f(x,  # why\n    y),\n  g(z\n    , 1)]", [f"2:3: {CUT}", f"4:3: {CUT}"], LET),
    ('a: [f("x,y"), g("(", 1)]', [f"1:5: {CUT}", f"1:15: {CUT}"], LET),
    ("a: {b: f(x, 3), c: g(x, 3), d: h(k=1, j=2)}", [f"1:8: {CUT}", f"1:20: {CUT}", f"1:32: {CUT}"], VALUE),
    ("a: {f(x, y): 3}", [f"1:5: {CUT}"], KEY),
    ("a: {f(x, b=3): 3, c: 1}", [f"1:5: {CUT}"], KEY),
    ("a: {f(x, {b: 3}): 3}", [f"1:5: {CUT}"], KEY),
    ("a: {c: f(x, {b: 2})}", [f"1:8: {CUT}"], VALUE),
    ("a: [f(x, {b: [2, 3]}, y)]", [f"1:5: {CUT}"], LET),
    ("a:\n- [f(x, y)]\n- {b: f(x, y), b: 1}", [f"2:4: {CUT}", f"3:7: {CUT}", "3:16: the key 'b' is already in line 3"], ""),
    ("a: {t: A (b, c), y: 1}", ["1:10: parentheses with a comma may not stand inside [ ] or { }"], VALUE + ", or put text"),
    ("a: [lin(3, lin(4)]", ["1:8: this '(' is not closed before the end of the [ ] or { }"], "add the ')'"),
    # Syntax
    ("a:\n\tb: 1", ["2:1: a tab may not stand here"], "spaces only"),
    ("a: b\tc", ["1:5: a tab may not stand here"], "spaces only"),
    ("a: @b", ["1:4: text may not begin with '@'"], "double quotes"),
    ("a: [> b]", ["1:5: text may not begin with '>'"], "below `|`"),
    ("a: 1\nb\nc: 2", ["2:1: a ':' is missing after this key"], "a space after the colon"),
    ("a: b: c", ["1:5: a second ': ' in one value"], "double quotes"),
    ("a: 1\n  b: 2", [f"2:4: {CONTINUES}"], "indent a new key"),
    ("let:\n  block res(x)\n  b: 1", [f"3:4: {CONTINUES}"], "the line above may lack its ':'"),
    ("a: - b", ["1:4: a `- ` entry may not begin here"], "below the key"),
    ("a: ? b", ["1:4: a '? ' may not stand here"], "double quotes"),
    ("a: *", ["1:4: '*' begins no value"], "alias"),
    ("a: &", ["1:4: '&' begins no value"], "anchor"),
    ("a: *b+c", ["1:4: '*' begins no value"], "alias"),
    ("a: >> b", [f"1:4: '>' {BLOCK}"], "below a `|`"),
    ("a: [b, c] >> d", [f"1:11: '>' {BLOCK}"], "below a `|`"),
    ("a: b  # comment\n  || c", [f"2:3: '|' {BLOCK}"], "below a `|`"),
    ("a: |0\n  b", [f"1:4: '|' {BLOCK}"], "below a `|`"),
    ("a: 'b\nc: d", ["1:4: this quote is never closed"], "add the closing quote"),
    ('a: "b\n---\nc"', ["1:4: this quote is never closed"], "add the closing quote"),
    ('a: "\\q"', ["1:6: an unknown escape in double quotes"], r"write \\ for"),
    ('a: "\\xzz"', ["1:7: an unknown escape in double quotes"], r"write \\ for"),
    ("a: [1, 2", ["1:4: this '[' is never closed"], "close it"),
    ("a: {b: [1, 2}\nc: 3", ["1:13: '}' does not match the bracket before it"], "its own kind"),
    ("a: [1, 2,\nb: 3\nc: 4", ["1:4: this '[' is never closed"], "close it"),
    ("a: {b: 1\nc: 2", ["1:4: this '{' is never closed"], "close it"),
    ("a: [x[0], 1]", ["1:6: '[' may not follow text inside [ ] or { }"], "name the expression in `let`"),
    ("a: {b: Is it?, c: 1}", ["1:13: '?' may not stand here inside [ ] or { }"], "double quotes"),
    ("a: {b: A: B}", ["1:9: ':' may not stand here inside [ ] or { }"], "double quotes"),
    ("a: [1,, 2]", ["1:7: nothing stands before this ','"], "remove one comma"),
    ("a: [- b]", ["1:5: a `- ` entry may not stand inside [ ] or { }"], "with commas"),
    ("a: ['b' c]", ["1:9: a ',' is missing before this"], "a comma separates"),
    ("a: [[1] [2]]", ["1:9: a ',' is missing before this"], "a comma separates"),
    ("a: ]", ["1:4: unexpected ']'"], "closes nothing"),
    ("a: , b", ["1:4: unexpected ','"], "double quotes"),
    ("a: [b]]", ["1:7: unexpected ']'"], "closes nothing"),
    ("a:\n  b: 1\n c: 2", ["3:2: this line's indentation fits no line above"], "same column"),
    ("  a: 1\n b: 2", ["2:2: this line's indentation fits no line above"], "same column"),
    ("a: 1\n- b", ["2:1: a `- ` line may not stand among keys"], "`- ` lines"),
    ("- a\nb: 1", ["2:1: a key may not stand among `- ` lines"], "`- ` lines"),
    ("a: 'b' c", ["1:8: the value before this has ended"], "below `|`"),
    ("a: b  # comment\n  + c", ["2:3: the value before this has ended"], "below `|`"),
    # Several at once; a syntax error ends the reading
    (
        "a: !x 1\na: [f(1, 2)]\nb: *c\n<<: {}",
        [
            f"1:4: {TAGS}",
            "2:1: the key 'a' is already in line 1",
            f"2:5: {CUT}",
            "3:4: unknown alias '*c'",
            "4:1: YAML merges ('<<') are not allowed",
        ],
        "",
    ),
    (
        "a: 1\na: 2\nb: ]\na: 3",
        ["2:1: the key 'a' is already in line 1", "3:4: unexpected ']'", "4:1: the key 'a' is already in line 1"],
        "",
    ),
]


@pytest.mark.parametrize(("content", "expected", "hint"), ERRORS)
def test_message(content: str, expected: list[str], hint: str) -> None:
    problems = fails(content)
    assert messages(problems) == expected
    for problem in problems.problems:
        assert problem.hint
        assert hint in problem.hint


def test_every_translation_has_an_example() -> None:
    said = {(problem.message, problem.hint) for content, *_ in ERRORS for problem in fails(content).problems}
    for *_, message, hint in syntax.SYNTAX[:-1]:
        assert any((message.replace("{char}", char), hint.replace("{char}", char)) in said for char in "@>*&|[]?:},"), message


def test_unforeseen_syntax_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No text is known that meets the table's last row."""
    monkeypatch.setattr(syntax, "SYNTAX", syntax.SYNTAX[-1:])
    assert messages(fails("a: ]")) == ["1:4: this is not YAML"]


@pytest.mark.parametrize("char", ["\0", "\x07", "\x7f", "\x85", "\u2028", "\ufeff", "\u202e", "\ud800", "\ufffe", "\r"])
def test_characters(char: str) -> None:
    assert messages(fails(f"a: b\nc: d{char}e")) == [f"2:5: the character U+{ord(char):04X} may not stand in a spec"]
    assert spec("title: Über 画像 😀 a\xa0b")


def test_long_names_are_shortened() -> None:
    name = "a" * 200
    assert messages(fails(f"{name}: 1\n{name}: 2")) == [f"2:1: the key '{'a' * 37}...' is already in line 1"]


def test_rendered() -> None:
    assert str(fails("let:\n  down: [id, pool(3, 4)]")) == (
        "spec.yaml:2:14: a call with several arguments may not stand inside [ ] or { }\n"
        "      down: [id, pool(3, 4)]\n"
        "                 ^^^^^^\n"
        "  YAML cuts it at the comma: name it in `let`, or write the list as `- ` lines"
    )


@pytest.mark.parametrize(
    ("cut", "meant"),
    [
        ("a: [id, f(x, 2), g(1), h(x, y, z)]", "a: [id, 'f(x, 2)', g(1), 'h(x, y, z)']"),
        ("a: {b: f(x, 3), c: g(x, k=3), d: 4}", "a: {b: 'f(x, 3)', c: 'g(x, k=3)', d: 4}"),
        ("a: {f(x, y=3, z): 3, g: 4}", "a: {'f(x, y=3, z)': 3, g: 4}"),
        ("a: {b: f(x, 3)}\nc: [[g(1, 2)], 3]", "a: {b: 'f(x, 3)'}\nc: [['g(1, 2)'], 3]"),
        ("a: [f(g(1, 2), 3), {b: h(1, 2)}]", "a: ['f(g(1, 2), 3)', {b: 'h(1, 2)'}]"),
    ],
)
def test_what_a_cut_call_means(cut: str, meant: str) -> None:
    """The file is read as if the call stood in quotes, so that its other mistakes are reported, too."""

    def plain(node: object) -> object:
        match node:
            case Scalar(value=value):
                return value
            case Sequence(items=items):
                return list(map(plain, items))
            case Mapping(entries=entries):
                return {key.value: plain(value) for key, value in entries}

    root, cuts = (reading := read_mended(Text("spec.yaml", cut))).root, reading.problems
    assert cuts
    assert plain(root) == plain(read(Text("spec.yaml", meant)))
    with pytest.raises(SpecError) as caught:
        read(Text("spec.yaml", cut))
    assert caught.value.problems == cuts


@pytest.mark.parametrize(
    ("content", "comma"), [("a: [b, ]", 5), ("a: [b,c , ]", 8), ("a: [b]", None), ("a: [b,  # c\n]", None), ("a: []", None)]
)
def test_a_comma_before_the_bracket(content: str, comma: int | None) -> None:
    node = spec(content).get("a")
    assert (node.comma.start if node.comma else None) == comma


@pytest.mark.parametrize(
    "content",
    ["a: [f(x), g(y)]", "a: {b: 'f(x, y)', c: \"(\"}", "a: f(x, y)", "a:\n- f(x, [1, 2])\n- |\n  g(x, y)"],
)
def test_calls_that_are_not_cut(content: str) -> None:
    spec(content)


# Strangers' files


def timed(content: str, limits: Limits = DEFAULT) -> list[str]:
    start = time.perf_counter()
    result = messages(fails(content, limits))
    assert time.perf_counter() - start < 10
    return result


@pytest.mark.parametrize("unit", ["[", "{a: ", "- ", "? ", "[[],"])
def test_depth(unit: str) -> None:
    (message,) = timed("a:\n " + unit * 100_000, LONG)
    assert message.endswith("more than 50 lists and mappings within each other")


def test_depth_through_aliases() -> None:
    deep = "a0: &a0 " + "[" * 40 + "]" * 40 + "\na1: " + "[" * 40 + "*a0" + "]" * 40
    assert timed(deep) == ["2:45: with this alias, more than 50 lists and mappings within each other"]
    assert spec("a: &a [[b]]\nc: [*a]", Limits(depth=4))
    assert fails("a: &a [[b]]\nc: [*a]", Limits(depth=3))


def test_depth_allowed() -> None:
    spec("a: " + "[" * 49 + "]" * 49)
    assert fails("a: " + "[" * 50 + "]" * 50)


def test_billion_laughs() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 8)]
    assert timed("\n".join(lines)) == ["5:10: more than 10000 keys, values and lists, each alias counted in full"]


def test_aliases() -> None:
    spec("a: &a b\nc: [" + "*a, " * 64 + "]")
    assert timed("a: &a b\nc: [" + "*a, " * 65 + "]") == ["2:261: more than 64 aliases"]


def test_unknown_alias_among_many_anchors() -> None:
    names = ["ab" * 4000 + str(i) for i in range(60)] + [f"a{i}" for i in range(5000)]
    content = "\n".join(f"k{i}: &{name} 1" for i, name in enumerate(names)) + "\nz: [" + f"*{'ba' * 4000}, " * 19 + "*a00]"
    assert len(timed(content, Limits(size=1 << 20, nodes=20_000))) == 20


def test_nodes() -> None:
    (message,) = timed("a: [" + "b, " * 300_000 + "]", LONG)
    assert message == "1:29996: more than 10000 keys, values and lists, each alias counted in full"
    assert spec("a: [b, c]", Limits(nodes=5))
    assert fails("a: [b, c]", Limits(nodes=4))


@pytest.mark.parametrize("content", ["a: {}", "a: '{}'", "a: |\n  {}"])
def test_scalar_length(content: str) -> None:
    assert spec(content.replace("{}", "b" * 99_000), LONG)


def test_characters_of_aliases() -> None:
    """Each alias of a long text counts its characters, in a list of aliases too."""
    lines = ["a: &a " + "b" * 1000, "c: &c [" + "*a, " * 9 + "d]"]
    assert spec("\n".join([*lines, "e: [*c]"]), Limits(size=19_200))
    assert timed("\n".join([*lines, "e: [*c]"]), Limits(size=18_000)) == [
        "3:5: more than 18000 characters, each alias counted in full"
    ]


def test_size() -> None:
    assert timed("a: " + "b" * (1 << 16)) == ["1:1: the text is longer than 65536 characters"]


def test_number_of_problems() -> None:
    assert len(timed("a: 1\n" * 100_000, LONG)) == 20


# Files


def test_files(tmp_path: Path) -> None:
    def said(path: Path | str, limits: Limits = DEFAULT) -> str:
        with pytest.raises(SpecError) as caught:
            read_file(path, limits)
        assert all(problem.hint for problem in caught.value.problems)
        return str(caught.value)

    path = tmp_path / "spec.yaml"
    assert f"there is no file '{path}'" in said(path)
    assert f"'{tmp_path}' is a directory" in said(tmp_path)
    assert "this is not a path" in said("a\0b")
    assert "File name too long" in said("a" * 5000)
    path.write_bytes("a: Ü\nb: ".encode() + b"x\xff")
    assert f"{path}:2:5: the file is not UTF-8 text" in said(path)
    path.write_bytes("a: b".encode("utf-16"))
    assert "save it as UTF-8" in said(path)
    path.write_bytes(b"a: b\nc: \0")
    assert f"{path}:2:4: the character U+0000 may not stand in a spec" in said(path)
    path.write_bytes(b"a: [")
    assert f"{path}:1:4: this '[' is never closed" in said(str(path))
    path.write_bytes(b"a: b")
    assert "is larger than 3 bytes" in said(path, Limits(size=3))
    assert plain(read_file(path)) == {"a": "b"}


def test_size_of_a_file_is_checked_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"#" * 100)
    monkeypatch.setattr(reader, "head", lambda *_: pytest.fail("read"))
    with pytest.raises(SpecError, match="is larger than 50 bytes"):
        read_file(path, Limits(size=50))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device without an end")
def test_a_file_without_end() -> None:
    with pytest.raises(SpecError, match="is larger than 65536 bytes"):
        read_file("/dev/zero")


# Anything


def mutate(content: str, edits: list[tuple[int, int, str]]) -> str:
    for place, length, insert in edits:
        place %= len(content) + 1
        if insert == "double":
            content = content[: place + length] + content[place:]
        else:
            content = content[:place] + insert + content[place + length :]
    return content


def tried(text: Text) -> Mapping | None:
    """The mapping, or none where there are problems, which then can be shown."""
    try:
        return read(text)
    except SpecError as caught:
        problems = caught
    assert all(problem.span and problem.hint for problem in problems.problems)
    assert str(problems)
    return None


INSERTS = st.one_of(st.just("double"), st.just(""), st.text("[]{}(),:;?-|>&*!%@`\"'#\\ \n\t\r.~<=ab1\0\x85\ufeff", max_size=3))
EDITS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 5), INSERTS), min_size=1, max_size=4)


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from([SMALL, LARGE]), EDITS)
def test_mutations_raise_nothing_else(content: str, edits: list[tuple[int, int, str]]) -> None:
    text = Text("spec.yaml", mutate(content, edits))
    tree = tried(text)
    if tree is None:
        return
    text = tree.span.text  # a copy, after a byte order mark
    for scalar in scalars(tree):
        assert scalar.content.text is text
        assert scalar.span.start <= scalar.content.start <= scalar.content.end <= scalar.span.end
        raw = text.content[scalar.content.start : scalar.content.end]
        if scalar.style == "plain" and "\n" not in raw:
            assert raw == scalar.value
        elif scalar.style != "double" and "''" not in raw:
            assert raw.split() == scalar.value.split()


@settings(max_examples=300, deadline=None)
@given(st.text("[]{}(),:?-|>&*!%\"'#\\ \nab", max_size=40))
def test_nonsense_raises_nothing_else(content: str) -> None:
    tried(Text("spec.yaml", content))


def test_the_work_grows_with_the_text() -> None:
    few, many = (
        calls(lambda n=n: spec("\n".join(f"k{i}: linear({i} * c) >> gelu >> linear(c)  # {{a comment}}" for i in range(n))))
        for n in (100, 400)
    )
    assert many < 4.1 * few
    assert few < 50_000  # 350 calls of functions a line
