"""``metablock new``: what is written builds at once."""

from __future__ import annotations

import re

import pytest

import metablock
from metablock.backend import costs
from metablock.catalogue.lookup import open_spec
from metablock.front import check
from metablock.language.resources import architectures


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_starter_builds(run, inside):
    result = run("new", "my_net")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "my_net.yaml is written; next:\n  metablock check my_net.yaml\n  metablock build my_net.yaml\n"
    assert run("check", "my_net.yaml").exit_code == 0
    text = (inside / "my_net.yaml").read_text()
    assert "\nmetablock: 1\nname: my_net\n" in text
    assert all("#" in line for line in text.splitlines() if line.startswith(("let:", "stages:", "variants:")))
    for edit in ("attention(dim // 32)", "pool(3)", "hilo(dim // 32)"):
        metablock.build("./my_net.yaml", edits=[f"token = {edit}"], device="meta")
    sizes = [
        sum(p.numel() for p in metablock.build("./my_net.yaml", variant=v, device="meta").parameters())
        for v in ("small", "large")
    ]
    assert sizes[0] < sizes[1] < 40e6


@pytest.mark.parametrize("base", architectures())
def test_a_copy_of_a_shipped_one_builds(run, inside, base):
    result = run("new", "mine", "--from", base)
    assert result.exit_code == 0, result.stderr
    spec, _ = open_spec("./mine.yaml")
    original, _ = open_spec(base)
    assert (spec.name, spec.paper, check(spec, shapes=False)) == ("mine", {}, [])
    facts = original.facts.of(metablock.resolved(original).variant)
    assert sum(costs.parameters(metablock.build(spec, device="meta"))) == int(facts["params"])
    text = (inside / "mine.yaml").read_text()
    assert not re.search(r"^(paper|checkpoints|facts):", text, re.MULTILINE)
    assert re.findall(r"^metablock: .*\n.*", text, re.MULTILINE) == ["metablock: 1\nname: mine"]


def test_the_variant_that_was_named_is_in_what_to_do_next(run, inside):
    assert run("new", "mine", "--from", "swin_small").stdout.endswith("build mine.yaml --variant swin_small_patch4_window7_224\n")
    assert "--variant" not in run("new", "other", "--from", "swin_tiny").stdout
    assert run("new", "third", "--from", "./mine.yaml").exit_code == 0


def test_nothing_is_lost(run, inside):
    (inside / "mine.yaml").write_text("precious")
    result = run("new", "mine")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "mine.yaml exists\n  choose another name, or --force replaces it\n"
    assert (inside / "mine.yaml").read_text() == "precious"
    assert run("new", "mine", "--force").exit_code == 0
    assert [path.name for path in inside.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["../x"], "'../x' is no name for an architecture\n  letters, digits, underscores"),
        (["7up"], "'7up' is no name"),
        (["mine", "--from", "swim_tiny"], "unknown architecture 'swim_tiny'\n  did you mean 'swin_tiny'?"),
        (["mine", "--from", "./none.yaml"], "none.yaml"),
    ],
)
def test_bad_input(run, inside, args, says):
    result = run("new", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert not list(inside.iterdir())
