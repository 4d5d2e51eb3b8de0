"""``metablock check``: silent on what is right; every error of every file on what is not."""

from __future__ import annotations

import json

import pytest

from metablock.report.models import FileReport

SHAPES = """\
name: shapes
input: image(3, 32)
stem: conv(12, 4, stride=4)
stages:
  heads: [3]
  body: res(layer_norm >> attention(heads))
head: global_pool >> linear(classes)
variants:
  one: {}
  two: {stem: "conv(16, 4, stride=4)"}
  three: {heads: [5]}
  four: {heads: [7]}
"""


def test_clean_is_silent(run, tiny):
    result = run("check", tiny)
    assert (result.exit_code, result.output) == (0, "")


def test_every_error_of_every_file(run, tiny, broken, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("name: [\n")
    result = run("check", broken, tmp_path / "missing.yaml", tiny, other)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{broken}:4:9: unknown operator 'group_nrm'\n      norm: group_nrm(1)\n            ^^^^^^^^^\n" in result.stderr
    assert "  did you mean 'group_norm'?\n" in result.stderr
    assert f"{broken}:8:7: unknown name 'nrm'\n" in result.stderr
    assert f"there is no file '{tmp_path / 'missing.yaml'}'\n" in result.stderr
    assert f"{other}:" in result.stderr
    assert str(tiny) not in result.stderr


def test_json(run, tiny, broken):
    result = run("check", "--json", broken, tiny, broken)
    assert result.exit_code == 2
    reports = [FileReport.model_validate(report) for report in json.loads(result.stdout)]
    assert [report.file for report in reports] == [str(broken), str(tiny)]
    first, second = reports[0].problems
    assert (first.message, first.hint) == ("unknown operator 'group_nrm'", "did you mean 'group_norm'?")
    assert (first.file, first.line, first.column, first.end_line, first.end_column) == (str(broken), 4, 9, 4, 18)
    assert second.line == 8
    assert reports[1].problems == ()


def test_json_when_all_is_well(run, tiny):
    result = run("check", "--json", tiny)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [{"file": str(tiny), "problems": [], "warnings": []}]


def test_json_of_a_missing_file(run):
    result = run("check", "--json", "missing.yaml")
    assert result.exit_code == 2
    [report] = json.loads(result.stdout)
    assert report["problems"][0]["message"] == "there is no file 'missing.yaml'"
    assert report["problems"][0]["line"] is None


def test_stdin(run, tiny, broken):
    assert run("check", "-", input=tiny.read_text()).exit_code == 0
    result = run("check", "-", input=broken.read_text())
    assert result.exit_code == 2
    assert "<stdin>:4:9: unknown operator 'group_nrm'" in result.stderr
    result = run("check", "-", input=b"name: \xff")
    assert (result.exit_code, result.stderr) == (2, "the text on standard input is not UTF-8\n  save it as UTF-8\n")


def test_shapes_of_every_variant(run, tmp_path):
    """What fails in one variant is found; what fails in several is said once."""
    path = tmp_path / "shapes.yaml"
    path.write_text(SHAPES)
    result = run("check", path)
    assert result.exit_code == 2
    assert result.stderr.count(str(path)) == 1
    assert "16" in result.stderr.splitlines()[0]
    assert run("check", path, "--no-shapes").exit_code == 0


@pytest.mark.parametrize("args", [("check",), ("check", "--no-such", "x.yaml"), ("chek",)])
def test_usage(run, args):
    result = run(*args)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


def test_a_folder(run, tmp_path):
    result = run("check", tmp_path)
    assert (result.exit_code, result.stderr) == (2, f"'{tmp_path}' is a directory\n  name a .yaml file in it\n")


def test_too_deep(run, tmp_path):
    path = tmp_path / "deep.yaml"
    chain = "".join(f"  b{n}: res(relu >> b{n + 1})\n" for n in range(900))
    path.write_text(f"name: deep\ninput: image(3, 8)\nlet:\n{chain}  b900: relu\nstages:\n  body: b0\n")
    result = run("check", path)
    assert result.exit_code == 2
    assert "deep" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_cut_call_hides_nothing(run, tmp_path):
    path = tmp_path / "cut.yaml"
    path.write_text(
        SHAPES.replace("stages:", "let: {wide: conv(8, 3), bad: gelo}\nstages:").replace("body: ", "body: wide >> bad >> ")
    )
    messages = [line.split(": ", 1)[1] for line in run("check", path).stderr.splitlines() if line.startswith(str(path))]
    assert messages[:2] == ["a call with several arguments may not stand inside [ ] or { }", "unknown name 'gelo'"]
    assert run("build", path).stderr.count("unknown name 'gelo'") == 1


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (" 20352,", " 20353,", "'tiny_a' has 20352 parameters, `facts` says 20353"),
        (" 108160,", " 108161,", "'tiny_a' has 108160 multiply-accumulates, `facts` says 108161"),
    ],
)
def test_facts_are_compared_with_counts(run, tiny, right, wrong, message):
    """A figure that the network does not have is found, in the row of its variant; with `-` there is nothing to compare."""
    text = tiny.read_text()
    tiny.write_text(text.replace(right, wrong))
    result = run("check", tiny)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.splitlines()[2].strip() == "^" * len(wrong.strip(" ,"))
    assert run("check", tiny, "--no-shapes").exit_code == 0
    tiny.write_text(text.replace(right, " -,"))
    assert run("check", tiny).exit_code == 0


def test_facts_of_frozen_parameters(run, tiny):
    text = tiny.read_text().replace("params, macs, reported.params", "params, trainable, reported.params")
    tiny.write_text(text.replace("108160", "20352"))
    assert run("check", tiny).exit_code == 0
    tiny.write_text(text.replace("108160", "20351"))
    assert "'tiny_a' has 20352 trainable parameters, `facts` says 20351" in run("check", tiny).stderr


RULES = """\
name: rules
input: image(3, 32)
stem: conv(8, 4, stride=4, bias=false) >> batch_norm
stages:
  depth: [1, 2]
  down: [id, "conv(16, 2, stride=2)"]
  body: depth * res(dw(3))
head: global_pool >> linear(10)
init: {linear: zeros, blocks.dw: ones, head.layer_norm.bias: ones}
weights:
  timm:
    stem.batch_norm.running_mean: stem.mean
    stem.conv.bias: stem.bias
    stages.{i}.blocks.{j}.**: layers.{layer(i, j)}.**
    dw.weight: depthwise.weight
  official:
    of: timm
    head.layer_norm.*: norm.*
    head.linear.**: fc.**
    weight: w
    ignore: [no.such.name]
variants:
  one: {}
  two: {head: "global_pool >> layer_norm >> linear(10)"}
"""


def located(stderr):
    """The messages by line and column, each with its hint."""
    lines = stderr.splitlines()
    starts = [at for at, line in enumerate(lines) if line[:1] != " "]
    return [(lines[at].split(".yaml:")[1], lines[at + 3].strip()) for at in starts]


def test_rules_of_some_variants_serve(run, tmp_path):
    """Rules for one variant alone, for buffers, for the bias of a re-parameterised convolution, and for what `**` leaves of a name, in a table that starts from another."""
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    assert run("check", path).stderr == ""


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        (
            "head.layer_norm.*:",
            "head.norm.*:",
            ("18:5: no network of this file has a parameter that `head.norm.*` fits", "did you mean `head.layer_norm.*`?"),
        ),
        (
            "    dw.weight:",
            "    stages.{a}.blocks.{b}.f.dw.*: x.*\n    dw.weight:",
            (
                "15:5: no network of this file has a parameter that `stages.{a}.blocks.{b}.f.dw.*` fits",
                "did you mean `stages.{a}.blocks.{b}.dw.*`? a slot that is one name or one call adds no level for it",
            ),
        ),
        (
            "    weight:",
            "    wait: v\n    weight:",
            ("20:5: no network of this file has a parameter that `wait` fits", "did you mean `weight`?"),
        ),
        (
            "    weight:",
            "    xyz.*: v.*\n    weight:",
            (
                "20:5: no network of this file has a parameter that `xyz.*` fits",
                "no name is like it: take the rule out, or write a name of ours",
            ),
        ),
        (
            "linear: zeros",
            "lnear: zeros",
            ("9:15: 'lnear' in `init` selects no parameter of any network of this file", "did you mean 'linear'?"),
        ),
        (
            "blocks.dw: ones",
            "head.dw: ones",
            (
                "9:32: 'head.dw' in `init` selects no parameter of any network of this file",
                "its parts exist, but not inside each other in this order, on a module with parameters",
            ),
        ),
        (
            "  two: {",
            "  two: {init: {gelu: ones}, ",
            (
                "24:22: 'gelu' in `init` selects no parameter of any network of this file",
                "name a slot, an operator or a parameter, or take the rule out",
            ),
        ),
    ],
)
def test_rules_without_a_use(run, tmp_path, right, wrong, expected):
    path = tmp_path / "rules.yaml"
    text = RULES.replace(right, wrong, 1)
    assert text != RULES
    path.write_text(text)
    result = run("check", path)
    assert result.exit_code == 2
    assert located(result.stderr) == [expected]
    assert run("check", path, "--no-shapes").exit_code == 0


@pytest.mark.parametrize("mark", ["sha256=xyz", "md5=00000000", "", f"sha256={'0' * 65}"])
@pytest.mark.parametrize("options", [[], ["--no-shapes"]])
def test_a_malformed_checksum(run, tmp_path, mark, options):
    path = tmp_path / "sums.yaml"
    place = f"https://example.org/net.pth#{mark}"
    start = RULES[: RULES.index("weights:")] + RULES[RULES.index("variants:") :]
    path.write_text(f'{start}checkpoints: [[variant, official], [one, "-"], [two, "{place}"]]\n')
    result = run("check", path, *options)
    assert result.exit_code == 2
    assert located(result.stderr) == [
        (f"13:54: '{place}': no checksum after the `#`", "write #sha256= and 64 digits from 0 to f, or leave it out")
    ]
    path.write_text(path.read_text().replace(f"#{mark}", f"#sha256={'0A' * 32}"))
    assert run("check", path, *options).stderr == ""
