"""``metablock diff``: two networks beside each other."""

from __future__ import annotations

import json

import pytest

import metablock
from metablock.api import example
from metablock.backend import costs
from metablock.front import front
from metablock.report.models import NetworkDiff


def rows(result: NetworkDiff) -> list[tuple[int, str, str]]:
    return [(row.depth, row.name, row.kind) for row in result.rows]


def networks(path: str, *edits: str) -> NetworkDiff:
    return metablock.diff(front(path), front(path, edits=edits))


def test_a_network_and_itself(run, tiny):
    result = metablock.diff(tiny, tiny)
    assert not result.differs
    assert {row.kind for row in result.rows} == {"same"}
    assert "the same network" in run("diff", tiny, tiny).stdout


def test_figures_are_those_of_the_networks(tiny):
    a, b = front(tiny), front(tiny, variant="tiny_b")
    result = metablock.diff(a, b)
    for network, place in ((a, result.a), (b, result.b)):
        model = metablock.build(network.spec, device="meta")
        assert place.parameters == sum(costs.parameters(model))
        assert place.macs == costs.macs(model, *example(model))[""]
        for key in ("a", "b"):
            parts = [getattr(row, key) for row in result.rows if row.depth == 0]
            assert sum(part.parameters for part in parts) == getattr(result, key).parameters


def test_another_mixer_is_one_row_in_each_stage(tiny):
    result = networks(tiny, "token = attention(2)")
    assert rows(result) == [
        (0, "stem", "same"),
        (0, "stage 0", "changed"),
        (1, "blocks.0-1", "changed"),
        (2, "token", "changed"),
        (0, "stage 1", "changed"),
        (1, "blocks.0", "changed"),
        (2, "token", "changed"),
        (0, "head", "same"),
    ]
    block, token = result.rows[2], result.rows[3]
    assert (block.copies, token.copies) == (2, 1)
    assert (token.a.text, token.b.text) == ("pool(3)", "attention(2)")
    assert token.a.parameters == 0 < token.b.parameters


def test_arguments_that_differ_are_named(tiny):
    result = networks(tiny, "norm = group_norm(2)")
    changed = [row for row in result.rows if row.arguments]
    assert changed
    assert all(row.arguments == {"groups": ("1", "2")} for row in changed)


def test_widths_alone_are_no_difference_of_modules(tiny):
    result = metablock.diff(tiny, front(tiny, variant="tiny_b"))
    assert rows(result) == [
        (0, "stem", "changed"),  # its convolution says how wide it is
        (0, "stage 0", "resized"),
        (0, "stage 1", "resized"),
        (0, "head", "resized"),
    ]
    assert result.rows[0].arguments == {"out": ("8", "16")}


def test_more_blocks_are_only_in_the_second(tiny):
    result = networks(tiny, "depth = [4, 1]")
    assert (1, "blocks.2-3", "only b") in rows(result)
    row = next(row for row in result.rows if row.kind == "only b")
    assert (row.a, row.copies) == (None, 2)
    back = metablock.diff(front(tiny, edits=["depth = [4, 1]"]), tiny)
    assert (1, "blocks.2-3", "only a") in rows(back)


def test_drop_rates_that_follow_from_the_depth_are_ranges():
    result = metablock.diff("poolformer_s12", "poolformer_s24")
    row = next(row for row in result.rows if row.name == "blocks.0-5")
    assert row.kind == "resized"
    assert row.arguments == {"drop rate": ("0.0364..0.0818", "0.0348..0.0565")}


def test_another_stage_and_another_stem(tiny):
    result = networks(tiny, "stem = conv(dim[0], 3, stride=4, bias=false) >> relu", "head = global_pool >> linear(classes)")
    kinds = {name: kind for depth, name, kind in rows(result) if depth == 0}
    assert kinds["stem"] == kinds["head"] == "changed"
    assert kinds["stage 0"] == "same"


def test_wiring_is_compared(tmp_path):
    text = "name: n\ninput: image(8, 8)\nstages:\n  body: {}\n"
    files = []
    for name, body in (("a", "(x -> y = conv(8, 3) return x + y)"), ("b", "(x -> y = conv(8, 3) return x * y)")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text.format(f'"{body[1:-1]}"'))
        files.append(str(path))
    assert metablock.diff(*files).differs


def test_weights_that_carry_over(tiny):
    result = networks(tiny, "token = attention(2)", "classes = 7", "input = image(1, 64)")
    model = metablock.build(tiny)
    assert result.weights.only_a == ()
    assert {name.split(".")[-2] for name in result.weights.only_b} == {"qkv", "proj"}
    assert {text.split(" ")[0] for text in result.weights.adapted} == {"stem.weight", "head.linear.weight", "head.linear.bias"}
    assert result.weights.same == len(model.state_dict()) - 3
    wider = networks(tiny, "dim = [16, 32]").weights
    assert "stem.weight (8, 3, 4, 4) -> (16, 3, 4, 4)" in wider.other_shape


def test_a_network_without_weights(tmp_path):
    path = tmp_path / "n.yaml"
    path.write_text("name: n\ninput: image(3, 8)\nmodel: relu\n")
    assert networks(str(path), "model = relu >> conv(3)").weights.only_b == ("conv.weight", "conv.bias")


@pytest.mark.parametrize(
    "arguments", [["poolformer_s12", "poolformer_s24"], ["poolformer_s12", "--edit", "token = attention(dim // 32)"]]
)
def test_the_text_has_80_columns(run, arguments):
    lines = run("diff", *arguments).stdout.splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80


def test_json(run, tiny):
    data = json.loads(run("diff", tiny, "--edit", "token = attention(2)", "--json").stdout)
    assert NetworkDiff.model_validate_json(json.dumps(data)) == networks(tiny, "token = attention(2)")


def test_variants_by_a_colon(run, tiny):
    data = json.loads(run("diff", f"{tiny}:tiny_a", f"{tiny}:tiny_b", "--json").stdout)
    assert (data["a"]["text"], data["b"]["text"]) == ("tiny_a", "tiny_b")


def test_standard_input(run, tiny):
    text = tiny.read_text()
    assert run("diff", "-", "--classes", 3, input=text).stdout == run("diff", tiny, "--classes", 3).stdout
    assert "the same network" in run("diff", "-", tiny, input=text).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to compare with"),
        (["nowhere"], "unknown architecture 'nowhere'"),
        (["tiny.yaml:tiny_z"], "has no variant 'tiny_z'"),
        (["--edit", "tokn = id"], "'tokn' names no slot or column"),
    ],
)
def test_mistakes(run, tiny, arguments, message):
    result = run("diff", tiny, *(argument.replace("tiny.yaml", str(tiny)) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
