"""Studies: what the files and options say, what is planned, how cost is matched, and every message."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from metablock.ablation.matching import cost_of, match, widths_of
from metablock.ablation.plan import plan
from metablock.ablation.study import Match, Study, edits_of, open_factors, parse_swap
from metablock.ablation.study_file import is_study, load_study, load_study_text
from metablock.errors import MetablockError, SpecError
from metablock.front import resolved, sized
from metablock.language.choices import choices, chosen
from metablock.language.load import load_text
from metablock.language.printer import show
from metablock.shape import Feature

MIXERS = "pool(3), attention(dim // 32), dw(7), dynamic_conv(7), hilo(dim // 32), agent_attention(dim // 32)"
STUDY = """\
study: mixers
base: poolformer_s12
edits: {depth: "[1, 1, 1, 1]"}
factors:
  token:
    - pool(3)
    - attention(dim // 32)
  stages[*].token: [dw(7), id]
  shape:
    deep: {depth: "[2, 2, 2, 2]"}
    thin: {dim: "[32, 64, 128, 256]", channel: mlp(2)}
design: one_at_a_time
match: {by: params, tolerance: 0.1, multiple: 16}
data: digits
recipe: {of: small, epochs: 3, lr: 3e-4}
seeds: [3, 5]
alpha: 0.1
margin: 0.02
"""
SMALL = ["depth = [1, 1, 1, 1]"]


def test_a_file(tmp_path: Path):
    path = tmp_path / "my.yaml"
    path.write_text(STUDY)
    assert is_study(str(path))
    study = load_study(path)
    assert (study.name, study.base, study.design, study.data) == ("mixers", "poolformer_s12", "one_at_a_time", "digits")
    assert (study.recipe, study.overrides) == ("small", {"epochs": 3, "lr": 3e-4})
    assert (study.seeds, study.alpha, study.margin) == ((3, 5), 0.1, 0.02)
    assert study.match == Match("params", 0.1, (), 16)
    token, sweep, shape = study.factors
    assert [level.name for level in token.levels] == ["pool(3)", "attention(dim // 32)"]
    assert [level.name for level in sweep.levels][:2] == ["stage 0: dw(7)", "stage 1: dw(7)"]
    assert sweep.sweep[4:6] == (("id", 0), ("id", 1))
    assert [(level.name, len(level.edits)) for level in shape.levels] == [("deep", 1), ("thin", 2)]


def test_a_base_beside_the_study(tmp_path: Path):
    (tmp_path / "net.yaml").write_text("name: net\ninput: image(1, 8)\nlet: {a: pool(3)}\nstages: {depth: 1, body: res(a)}\n")
    (tmp_path / "s.yaml").write_text("study: s\nbase: net.yaml\nfactors: {a: [id]}\n")
    assert load_study(tmp_path / "s.yaml").resolved().name == "net"
    assert not is_study(str(tmp_path / "net.yaml"))
    assert not is_study(str(tmp_path / "none.yaml"))


BAD = {
    "base: poolformer_s12\n": r"<study>:1:1: 'study' is missing\n.*\n.*\n  `study: mixers` names it",
    "study: x\nbase: poolformer_s13\n": r"<study>:2:7: unknown architecture 'poolformer_s13'\n.*\n.*\n  did you mean 'poolformer_s",
    "study: x\nbase: poolformer_s12\nfactor: {}\n": r"<study>:3:1: unknown key 'factor' in a study\n.*\n.*\n  did you mean 'factors'",
    "study: x\nbase: poolformer_s12\nvariant: s99\n": r"<study>:3:10: 'metaformer' has no variant 's99'",
    "study: x\nbase: poolformer_s12\nfactors: {token: [id, id]}\n": r"<study>:3:23: the value `id` stands twice",
    "study: x\nbase: poolformer_s12\nfactors: {token: [atn(]}\n": r"<study>:3:",
    "study: x\nbase: poolformer_s12\nfactors: token\n": r"<study>:3:10: factors are `slot: \[value, value\]` lines",
    "study: x\nbase: poolformer_s12\ndesign: all\n": r"<study>:3:9: unknown design 'all'\n.*\n.*\n  known: grid, one_at_a_time",
    "study: x\nbase: poolformer_s12\nmatch: mac\n": r"<study>:3:8: unknown match 'mac'\n.*\n.*\n  did you mean 'macs'",
    "study: x\nbase: poolformer_s12\nmatch: {bye: macs}\n": r"<study>:3:9: unknown key 'bye' in `match`\n.*\n.*\n  did you mean 'by'",
    "study: x\nbase: poolformer_s12\nmatch: {tolerance: 7}\n": r"tolerance is a number from 0 to 1",
    "study: x\nbase: poolformer_s12\nseeds: 0\n": r"<study>:3:8: seeds is a whole number from 1 to 1000",
    "study: x\nbase: poolformer_s12\nalpha: high\n": r"<study>:3:8: alpha is a number from 1e-06 to 0.5",
    "study: x\nbase: poolformer_s12\nrecipe: {of: small, epoch: 3}\n": r"<study>:3:21: a recipe has no 'epoch'\n.*\n.*\n  did you mean 'epochs'",
    "study: x\nbase: poolformer_s12\nrecipe: {loss: mse}\n": r"<study>:3:10: loss: cross_entropy or bce or focal, not 'mse'",
    "study: x\nbase: poolformer_s12\nrecipe: [a]\n": r"<study>:3:9: `recipe` is a word or a mapping",
    "study: x\nbase: poolformer_s12\nedits: [a]\n": r"<study>:3:8: edits are `slot: value` lines",
}  # fmt: skip


@pytest.mark.parametrize("text", [text for text, said in BAD.items() if said], ids=lambda text: text.split("\n")[-2])
def test_bad_files(text: str):
    with pytest.raises(SpecError, match=BAD[text]):
        load_study_text(text)


def test_bad_swaps():
    base = resolved("poolformer_s12")
    for swap, said in {
        "token": r"--swap:1:1: a swap is `slot = value, value, ...`",
        "token = pool(3),, id": r"a value is missing here",
        "token = pool(3), atn((": r"--swap:1:",
    }.items():
        if said:
            with pytest.raises(SpecError, match=said):
                parse_swap(swap, base)
    for swap, said in {
        "tokn = id": r"--swap:1:1: 'tokn' names no slot or column of 'metaformer'\n.*\n.*\n  did you mean 'token'",
        "stages[9].token = id": r"--swap:1:8: there is no stage 9",
    }.items():
        study = Study("x", "poolformer_s12", edits=edits_of(SMALL), factors=(parse_swap(swap, base),))
        with pytest.raises(MetablockError, match=said):
            plan(study, Feature("map", 1, (32, 32)), 10)


def test_commas_in_calls_and_strings():
    factor = parse_swap('token = pool(3, 1), window(7, attention(heads, pos=[a, b])), "a, b"', resolved("poolformer_s12"))
    assert [level.name for level in factor.levels] == ["pool(3, 1)", "window(7, attention(heads, pos=[a, b]))", '"a, b"']


# Choices in a spec

OPEN = """\
name: open
input: image(1, 8)
classes: 10
let:
  token: one_of(pool(3), dw(3), id)
  block: res(token) >> res(one_of(mlp(2), id) >> one_of(relu, gelu))
stages: {depth: 1, body: depth * block}
head: global_pool >> linear(classes)
"""


def test_one_of():
    spec = load_text(OPEN)
    assert [(choice.name, len(choice.options)) for choice in choices(spec)] == [("token", 3), ("block", 2), ("block2", 2)]
    first = chosen(spec)
    assert "one_of" not in str(first.let)
    assert chosen(first) is first
    assert [len(factor.levels) for factor in open_factors(spec)] == [3, 4]
    assert [level.name for level in open_factors(spec)[1].levels][1] == "mlp(2), gelu"
    from metablock.front import check

    assert check(spec) == []
    for bad in ("one_of(id)", "one_of(id, b=gelu)"):
        problems = check(load_text(OPEN.replace("one_of(relu, gelu)", bad)))
        assert [problem.message for problem in problems] == ["`one_of` lists at least two options"]


def test_choices_with_a_number_in_their_name():
    """A second choice in `token` is not the one in `token2`; each is edited where it stands."""
    text = OPEN.replace(
        "token: one_of(pool(3), dw(3), id)",
        "token: one_of(pool(3), dw(3)) >> one_of(relu, gelu)\n  token2: one_of(pool(5), dw(5))",
    )
    spec = load_text(text.replace("res(token)", "res(token >> token2)"))
    assert [choice.name for choice in choices(spec)][:3] == ["token", "token_2", "token2"]
    picked = chosen(spec, {"token_2": 1})
    assert [show(picked.let[name].body) for name in ("token", "token2")] == ["pool(3) >> gelu", "pool(5)"]
    factors = {factor.name: [level.name for level in factor.levels] for factor in open_factors(spec)}
    assert factors["token"] == ["pool(3), relu", "pool(3), gelu", "dw(3), relu", "dw(3), gelu"]
    assert factors["token2"] == ["pool(5)", "dw(5)"]
    level = next(factor for factor in open_factors(spec) if factor.name == "token2").levels[1]
    assert [(edit.name, show(edit.value)) for edit in level.edits] == [("token2", "dw(5)")]


def test_one_name_with_choices_in_two_tables():
    spec = load_text(OPEN.replace("stages:", "shared: {token: 'one_of(relu, token)'}\nstages:"))
    with pytest.raises(SpecError, match="'token' has open choices in two tables") as caught:
        choices(spec)
    assert caught.value.problems[0].hint == "give one of the two another name"


def test_one_of_is_a_factor(tmp_path: Path):
    (tmp_path / "open.yaml").write_text(OPEN)
    study = Study("x", str(tmp_path / "open.yaml"), design="grid").varied()
    cells = plan(study, Feature("map", 1, (8, 8)), 10)
    assert len(cells) == 12
    assert all(cell.spec is not None for cell in cells)
    assert cells[0].name == "base: token = pool(3), block = mlp(2), relu"


# Plans


def test_a_plan_has_inapplicable_cells():
    study = Study("x", "deit_tiny_patch16_224", edits=edits_of(["depth = 1"]))
    study = replace(study, factors=(parse_swap("token = pool(3), attention(5), attention(6)", study.resolved()),))
    cells = plan(study, Feature("map", 3, (32, 32)), 10)
    assert [bool(cell.problem) for cell in cells] == [False, True, True, False]
    assert "have no place on a map" in cells[1].problem
    assert cells[2].problem == "5 heads do not divide 192 channels (choose another number of heads, or give `head_dim=`)"


def test_a_grid():
    base = Study("x", "poolformer_s12", edits=edits_of(SMALL), design="grid")
    swaps = [parse_swap(text, base.resolved()) for text in ("token = pool(3), id", "channel = mlp(4), mlp(2)")]
    cells = plan(replace(base, factors=tuple(swaps)), Feature("map", 1, (32, 32)), 10)
    assert [cell.name for cell in cells] == [
        "base: token = pool(3), channel = mlp(4)", "token = pool(3), channel = mlp(2)",
        "token = id, channel = mlp(4)", "token = id, channel = mlp(2)",
    ]  # fmt: skip


def test_a_sweep_in_stages():
    base = Study("x", "poolformer_s12", edits=edits_of(SMALL))
    factor = parse_swap("stages[*].token = id", base.resolved())
    cells = plan(replace(base, factors=(factor,)), Feature("map", 1, (32, 32)), 10)
    assert [cell.stage for cell in cells] == [None, 0, 1, 2, 3]


# Matching

BASES = {
    "poolformer_s12": ["depth = [1, 1, 1, 1]"],
    "swin_tiny": ["depth = [1, 1, 1, 1]"],
    "convnext_tiny": ["depth = [1, 1, 1, 1]"],
    "caformer_s18": ["depth = [1, 1, 1, 1]"],
}


@pytest.mark.parametrize(("base", "by"), [*((base, "macs") for base in BASES), ("poolformer_s12", "params")])
def test_six_mixers_are_matched(base: str, by: str):
    study = Study("x", base, edits=edits_of(BASES[base]), match=Match(by))
    study = replace(study, factors=(parse_swap(f"token = {MIXERS}", study.resolved()),))
    cells = plan(study, Feature("map", 3, (64, 64)), 10)
    target = cells[0].cost
    assert target is not None
    assert len(cells) >= 6
    for cell in cells:
        assert cell.problem == ""
        assert cell.cost is not None
        assert cell.cost.by(by) == pytest.approx(target.by(by), rel=0.05), cell.name
        assert cell.residual == pytest.approx(cell.cost.by(by) / target.by(by) - 1)
        assert not cell.off


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seeds: [3, 3]", r":4:12: the seed 3 stands twice\n.*\n.*\n  keep one of the two"),
        ("seeds: []", "a study needs a seed"),
        ("seeds: [03]", "a seed is a whole number"),
        ("seeds: 1_0", "seeds is a whole number"),
        ("match: {by: macs, scale: [dim, dim]}", "'dim' stands twice"),
        ("alpha: 0_5", "alpha is a number"),
    ],
)
def test_what_stands_twice_in_a_file(line: str, said: str):
    with pytest.raises(SpecError, match=said):
        load_study_text(f"study: s\nbase: poolformer_s12\nfactors: {{token: [id]}}\n{line}\n")


def test_what_stands_twice_in_a_study():
    base = Study("s", "poolformer_s12")
    swaps = [parse_swap(f"token = {value}", base.resolved()) for value in ("id", "dw(3)")]
    with pytest.raises(MetablockError, match=r"'token' varies twice\n  join the two"):
        replace(base, factors=tuple(swaps)).varied()
    with pytest.raises(MetablockError, match="the seed 3 stands twice"):
        replace(base, seeds=(3, 3)).varied()
    shapes = "{deep: {depth: '[2, 2, 2, 2]', dim: '[8, 8, 8, 8]'}}"
    text = f"study: s\nbase: poolformer_s12\nfactors:\n  a: {shapes}\n  b: {shapes}\n"
    with pytest.raises(MetablockError, match="two variants of this study are called 'deep'"):
        plan(load_study_text(text), Feature("map", 3, (32, 32)), 10)


def test_a_match_that_cannot_be():
    spec = sized(resolved("poolformer_s12", edits=SMALL), classes=10, input="3x32x32")
    matched = match(spec, cost_of(spec).macs // 10**6, "macs")
    assert matched.residual > 0.5  # widths end at one multiple
    with pytest.raises(MetablockError, match=r"'dims' is not a column or binding of 'metaformer'\n  did you mean 'dim'"):
        widths_of(spec, ("dims",))
    with pytest.raises(MetablockError, match=r"'token' of 'metaformer' is not written as numbers"):
        widths_of(spec, ("token",))
    bare = load_text("name: n\ninput: image(1, 8)\nstages:\n  depth: 1\n  body: depth * conv(8, 3)\n")
    with pytest.raises(MetablockError, match=r"it is not clear which widths of 'n' scale\n  name them: match: {by: macs, scale"):
        widths_of(bare)


def test_a_multiplier_scales():
    spec = load_text(
        "name: n\ninput: image(1, 8)\nlet: {width: 1.0}\nstages:\n  depth: 2\n  body:  depth * conv(round8(32 * width), 3)\n"
    )
    cost = cost_of(spec).macs
    matched = match(spec, 2 * cost, "macs")
    assert matched.widths.startswith("width = 1.")
    assert abs(matched.residual) < 0.3
