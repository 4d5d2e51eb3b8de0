"""``metablock show``: a network to look at, nothing allocated."""

from __future__ import annotations

import itertools
import json
import re

import pytest
import torch
from cases import RULES

import metablock
from metablock.front import resolved
from metablock.language.format import show_spec, spec_hash
from metablock.language.load import load_text
from metablock.lowering.ir import module_nodes
from metablock.report.models import ShownShapes, ShownSpec, ShownTree
from metablock.report.options import BuildOptions, lowered
from metablock.report.shape_steps import steps
from metablock.report.show import shapes
from tests.cli.test_build import TWO


def test_spec(run, tiny):
    text = run("show", tiny, "--variant", "tiny_b").stdout
    assert text == show_spec(resolved(tiny, variant="tiny_b"))
    assert "variants" not in text
    assert spec_hash(load_text(text)) == spec_hash(resolved(tiny, variant="tiny_b"))


def test_changes_are_in_the_text(run, tiny):
    text = run("show", tiny, "--edit", "token = attention(2)", "--classes", 10, "--input", "1x64x48").stdout
    assert "\n  token: attention(2)\n" in text
    assert "\nclasses: 10\n" in text
    assert "\ninput: image(1, 64, 48)\n" in text
    assert run("show", "-", input=text).stdout == text.partition("\nfacts:")[0], "whose facts, it does not know"


def test_tree(run, tiny):
    lines = run("show", tiny, "--as", "tree").stdout.splitlines()
    assert lines[0] == "tiny"
    assert "        0-1: 2 * res(norm >> token) >> res(norm >> mlp(2))" in lines
    assert sum("mlp: mlp(2)" in line for line in lines) == 2, "once a stage: equal blocks are one"


def test_shapes(run, tiny, terminal):
    lines = run("show", tiny, "--as", "shapes", "--input", "3x64x32").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    words = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[2:] if line.split()}
    assert words["stem"].endswith("map 3 x 64x32 map 8 x 16x8")
    assert words["blocks.0-1"].startswith("2 * res(norm >> token)")
    assert words["stages.1"].endswith("map 8 x 16x8 map 16 x 8x4")
    assert words["down"].endswith("map 8 x 16x8 map 16 x 8x4")
    assert words["linear"].endswith("vector of 16 vector of 1000")


def test_shapes_of_several_inputs(run, tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(TWO)
    text = " ".join(run("show", path, "--as", "shapes").stdout.split())
    assert "map 3 x 32x32, map 1 x 32x32 map 8 x 8x8" in text
    assert text.count("shared.mix conv(8, 1) >> gelu") == 2


def test_nothing_is_allocated(run):
    """Half a million million parameters would not fit anywhere."""
    wide = ("--edit", "dim = 200000", "--edit", "heads = 1000", "--large")
    result = run("show", "vit_tiny_patch16_224", *wide, "--as", "tree")
    assert result.exit_code == 0
    assert "linear(800000)" in result.stdout


@pytest.mark.parametrize("view", ["spec", "tree", "shapes"])
def test_refused(run, broken, view):
    result = run("show", broken, "--as", view)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "unknown operator 'group_nrm'" in result.stderr


def test_no_such_view(run, tiny):
    result = run("show", tiny, "--as", "svg")
    assert result.exit_code == 2
    assert "--as" in result.stderr


def test_the_text_of_a_variant_builds(run):
    """It has none of the bindings that only other variants use."""
    text = run("show", "vit_tiny_patch16_224").stdout
    assert "bottleneck(" not in text
    assert run("check", "-", "--no-shapes", input=text).exit_code == 0
    assert run("build", "-", input=text).exit_code == 0


@pytest.fixture
def renamed(tmp_path):
    """A spec with rules, and a checkpoint that fits but for one shape, one name and what is left over."""
    spec, file = tmp_path / "small.yaml", tmp_path / "theirs.pth"
    spec.write_text(RULES)
    state = {"first.weight": torch.ones(6, 3, 1, 1), "first.bias": torch.ones(6), "a.weight": torch.ones(1, 6)}
    state |= {"b.weight": torch.ones(2, 6), "last.weight": torch.ones(5, 4, 1, 1), "last.bias": torch.ones(5)}
    state |= {f"blocks.{i}.index": torch.ones(2) for i in range(3)}
    torch.save(state, file)
    return spec, file


def test_names(run, renamed):
    spec, _ = renamed
    lines = run("show", spec, "--as", "names").stdout.splitlines()
    assert lines[0] == "small: 6 tensors"
    assert lines[1].split() == ["stem.conv.weight", "6x3x1x1"] and lines[2].split() == ["stem.conv.bias", "6"]
    assert lines[-1] == "rule sets: theirs, half, none (--rules NAME); a checkpoint beside them: --weights FILE"
    lines = run("show", spec, "--as", "names", "--rules", "theirs").stdout.splitlines()
    assert lines[0] == "small: 6 tensors, by the names of 'theirs'"
    assert [line.split() for line in lines if "wide.weight" in line] == [
        ["stem.wide.weight", "4x6", "a.weight", "++", "b.weight"]
    ]


def test_names_beside_a_checkpoint(run, renamed):
    spec, file = renamed
    text = run("show", spec, "--as", "names", "--weights", file).stdout
    assert "4 of ours fit, with theirs.pth:\n" in text
    assert "head.linear.weight  5x4 from 5x4x1x1  last.weight" in re.sub(" {2,}", "  ", text)
    assert "1 of ours of another shape:\nstem.wide.weight  4x6 from 1x6 ++ 2x6 (made (3, 6))  a.weight ++ b.weight\n" in text
    assert "1 of ours missing there:\nstem.wide.bias  4  ab\n" in text
    assert f"by {spec}:13: `stem.wide.bias: ab`" in " ".join(text.split())
    assert "3 left over there:\nblocks.{0-2}.index  2\n" in text
    report = json.loads(run("show", spec, "--as", "names", "--weights", file, "--json").stdout)
    rows = {row["name"]: row for row in report["ours"]}
    assert report["rules"] == "theirs" and len(rows) == 6
    assert rows["stem.wide.weight"]["fits"] is False and rows["stem.wide.weight"]["remark"] == "made (3, 6)"
    assert rows["stem.wide.weight"]["theirs"][1] == {"name": "b.weight", "shape": [2, 6], "ignored": False}
    assert [row["name"] for row in report["left"]] == ["blocks.0.index", "blocks.1.index", "blocks.2.index"]
    metablock.write(metablock.build(spec), spec.with_suffix(".safetensors"))
    assert "6 of ours fit" in run("show", spec, "--as", "names", "--weights", spec.with_suffix(".safetensors")).stdout


def test_names_are_folded_and_whole(run):
    """Repeats stand in one line; at 80 columns a pair that is too wide stands on two, and no name is cut."""
    lines = run("show", "swin_tiny", "--as", "names", "--rules", "timm").stdout.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) < 150
    at = next(i for i, line in enumerate(lines) if line.startswith("stages.2.blocks.{0-5}.token.attn.pos.table.weight"))
    assert lines[at + 1] == "    layers.2.blocks.{0-5}.attn.relative_position_bias_table"
    assert any(line.startswith("stages.0.blocks.{0-1}.norm1.{weight,bias} ") for line in lines)
    counters = [line for line in run("show", "resnet18", "--as", "names").stdout.splitlines() if "num_batches" in line]
    assert len(counters) == 4 and all(line.endswith("scalar counter") for line in counters)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--weights", "w.pth"], "--weights belongs to --as names"),
        (["--as", "tree", "--rules", "timm"], "--rules belongs to --as names"),
        (["--as", "names", "--rules", "their"], "'small' has no weight rules 'their'\n  did you mean 'theirs'?"),
        (["--as", "names", "--weights", "nowhere.pth"], "nowhere.pth: no such file"),
    ],
)
def test_names_are_refused(run, renamed, words, says):
    result = run("show", renamed[0], *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


KINDS = """\
name: kinds
input: image(3, 32)
let:
  block: res(norm >> token, skip=shortcut) >> res(norm >> channel)
  norm: layer_norm
  channel: mlp(2)
  shortcut: id if stage < 2 else scale(1)
stem: conv(8, 4, stride=4)
stages:
  depth: [3, 4, 2, 1]
  drop: ramp(0.1)
  token:
    - window(4, attention(2), shift=index % 2 * 2)
    - pool(3) if index < 2 else dw(3 + 2 * index)
    - attention(2)
    - none
  body: depth * block
head: global_pool >> linear(classes)
"""


@pytest.fixture
def kinds(tmp_path):
    path = tmp_path / "kinds.yaml"
    path.write_text(KINDS)
    return path


def test_blocks_of_one_line_show_what_differs(run, kinds):
    """Shifted windows, a mask in some of them, rates, two kinds of mixer, a kernel."""
    steps = [(step.name, step.text, step.only) for step in shapes(BuildOptions(str(kinds)))]
    stages = [steps.index(next(step for step in steps if step[0] == f"stages.{stage}")) for stage in range(4)]
    first, second, third = (steps[start:end] for start, end in itertools.pairwise(stages))
    assert ("blocks.0-2", "3 * res(norm >> token, skip=shortcut) >> res(norm >> channel)", ()) in first
    assert ("token", "window(4, attention(2), shift=0 or 2)", ()) in first
    assert [step for step in first if step[0] == "mask"] == [("mask", "window_mask([4, 4], [2, 2])", ("1",))]
    assert ("drop", "drop_path(0.00-0.02)", ()) in first
    assert [step for step in second if step[0] == "token"] == [
        ("token", "pool(3)", ("0", "1")),
        ("token", "conv(8, 7 or 9, groups=8)", ("2", "3")),
    ]
    assert "scale" in [text for _, text, _ in third]
    text = run("show", kinds, "--as", "shapes").stdout
    assert "in blocks 0, 1" in " ".join(text.split())


def test_a_part_that_differs_is_never_merged_silently(run, kinds):
    """Every module of the network is in a line of its own text, or in one that has its numbers in a range."""
    ir = lowered(BuildOptions(str(kinds))).ir
    rows = steps(ir)
    nodes = {node.text for _, node in module_nodes(ir)}
    exact = {row.text for row in rows}
    ranged = {text.partition("(")[0] for text in exact if " or " in text or re.search(r"\d-\d", text)}
    assert {text for text in nodes - exact if text.partition("(")[0] not in ranged} == set()


def test_a_stage_says_what_its_names_stand_for(run, kinds):
    report = json.loads(run("build", kinds, "--device", "meta", "--json").stdout)
    names = {row["name"]: row["names"] for row in report["rows"]}
    assert names["stage 0"] == {"token": "window(4, attention(2), shift=0 or 2)", "shortcut": "id", "drop": "0.00-0.02"}
    assert names["stage 1"]["token"] == "pool(3) | conv(8, 7 or 9, groups=8)"
    assert names["stage 2"] == {"token": "attention(2)", "shortcut": "scale", "drop": "0.08-0.09"}
    assert names["stage 3"] == {"token": "none", "shortcut": "scale", "drop": "0.1"}
    assert "norm" not in names["stage 0"], "the same everywhere"
    text = run("build", kinds, "--device", "meta").stdout
    assert (
        "\ntoken     stage 0: window(4, attention(2), shift=0 or 2)\n          stage 1: pool(3) | conv(8, 7 or 9, groups=8)\n"
        in text
    )
    assert "\nshortcut  stages 0-1: id; stages 2-3: scale\n" in text


def test_equal_blocks_say_nothing(run, tiny):
    rows = json.loads(run("build", tiny, "--device", "meta", "--json").stdout)["rows"]
    assert all(row["names"] == {} for row in rows)


@pytest.mark.parametrize("view", ["spec", "tree", "shapes", "names"])
def test_every_view_as_json(run, kinds, view):
    report = json.loads(run("show", kinds, "--as", view, "--json", "--edit", "norm = group_norm(1)").stdout)
    if view == "spec":
        assert ShownSpec.model_validate(report).edits == ("norm = group_norm(1)",)
        assert report["text"] == run("show", kinds, "--edit", "norm = group_norm(1)").stdout
    elif view == "tree":
        stages = ShownTree.model_validate(report).modules[1]
        assert (stages.path, stages.text, stages.modules[0].modules[0].path) == ("stages", None, "stages.0.blocks")
        assert len(stages.modules[1].modules[0].modules) == 4, "each block by itself"
    elif view == "shapes":
        rows = ShownShapes.model_validate(report).steps
        assert [row.blocks for row in rows if row.name == "mask"] == [("1",)]
        assert rows[0].outputs == ("map 8 x 8x8",)
    else:
        assert report["ours"]
