"""``metablock show``: a network to look at, nothing allocated."""

from __future__ import annotations

import pytest

from metablock.front import resolved
from metablock.language.format import show_spec, spec_hash
from metablock.language.load import load_text
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


def test_shapes(run, tiny):
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
    assert "map 3 x 32x32, map 1 x map 8 x 8x8" in text
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
