"""Suggestions for unknown names: near in spelling or in meaning, and right where they stand."""

from __future__ import annotations

import re

import pytest

from metablock.errors import MetablockError, Problem, SpecError, nearest
from metablock.front import check
from metablock.language.elsewhere import arguments, called_here, can_be_written, code, names
from metablock.language.load import load_text
from metablock.language.registry import OPERATORS
from metablock.language.standard import BUILTIN, NUMERIC, standard
from metablock.report.operators import operators

# Code of answers runs between these, with these names: on a map, or on tokens.
FRAMES = ("{}", "flatten >> ({})", "join({}, id)", "id + ({})")
BOUND = "let:\n  a: relu\n  b: sigmoid\n  n: 8\n"


def problems(body: str, *sections: str, columns: str = "") -> list[Problem]:
    lines = ["name: bad", "input: image(8, 16, 16)", *sections, "stages:", *filter(None, [columns]), f"  body: {body}", ""]
    try:
        return check(load_text("\n".join(lines)))
    except SpecError as wrong:
        return list(wrong.problems)


def hints(body: str, *sections: str) -> list[str | None]:
    return [problem.hint for problem in problems(body, *sections)]


@pytest.mark.parametrize(
    ("word", "options", "near"),
    [
        ("clamp", ["ramp"], None),
        ("sin", ["min"], None),
        ("pad", ["spread"], None),
        ("abs", ["agent_bias"], None),
        ("rope", ["routed"], None),
        ("swish", ["hard_swish"], None),
        ("identity", ["adaptive_avg_pool"], None),
        ("fooo", ["floor"], None),
        ("haed", ["shared", "head"], "head"),
        ("kernl", ["stride", "kernel"], "kernel"),
        ("reul", ["gelu", "relu"], "relu"),
        ("layerNorm", ["norm", "layer_norm"], "layer_norm"),
        ("sig", ["sigmoid"], "sigmoid"),
        ("si", ["sigmoid", "silu"], None),
        ("dw", ["pw"], None),
        ("", ["pw"], None),
        ("x" * 100_000, ["x" * 50], None),
    ],
)
def test_only_what_is_near_is_suggested(word: str, options: list[str], near: str | None) -> None:
    assert nearest(word, options) == near


def test_no_operator_suggests_another_beside_its_own_name() -> None:
    """Each name without one letter, with a letter twice, and with two exchanged still finds a name as near as itself."""
    for name in OPERATORS:
        if len(name) > 5:
            for slip in (name[:2] + name[3:], name[:2] + name[1:], name[:1] + name[2] + name[1] + name[3:]):
                near = nearest(slip, OPERATORS)
                assert slip in OPERATORS or near == name or near is not None, (slip, near)


ANSWERS = {part for answers in names().values() for answer in answers for part in code(answer)}


@pytest.mark.parametrize("part", sorted(ANSWERS))
def test_what_the_table_points_to_lowers(part: str) -> None:
    if not can_be_written(part):
        assert not any(part in code(called_here(name) or "") for name in names())
        return
    texts = [f"name: n\ninput: image(8, 16, 16)\n{BOUND}stages:\n  body: >-\n    {frame.format(part)}\n" for frame in FRAMES]
    tried = [[p for p in check(load_text(text)) if "never used" not in p.message] for text in texts]
    assert any(not wrong for wrong in tried), tried[0]


def test_every_name_of_another_library_has_an_answer() -> None:
    known = {*OPERATORS, *standard(), *BUILTIN, *NUMERIC}
    for name in names():
        assert name in known or called_here(name), name


def test_every_argument_of_another_library_leads_to_one_that_exists() -> None:
    every = {name for operator in OPERATORS.values() for name in operator.schema.names()}
    every |= {param.name for binding in standard().values() for param in binding.params}
    pending = {"rotary", "kv_heads"}
    for name, answers in arguments().items():
        for answer in answers:
            word = re.fullmatch(r"`(\w+)`", answer)
            assert word is None or word[1] in every | pending, (name, answer)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("identity", "did you mean 'id'?"),
        ("Identity", "did you mean 'id'?"),
        ("swish", "did you mean 'silu'?"),
        ("SiLU", "did you mean 'silu'?"),
        ("GELU", "did you mean 'gelu'?"),
        ("LayerNorm", "did you mean 'layer_norm'?"),
        ("BatchNorm2d", "did you mean 'batch_norm'?"),
        ("MultiheadAttention", "here it is `attention(2)`"),
        ("Conv2d", "here it is `conv(n, 3)`"),
        ("Dense", "here it is `linear(n)`"),
        ("reshape", "operators convert layouts themselves: docs/language.md, section 6"),
        ("GlobalAveragePooling2D", "did you mean 'global_pool'?"),
        ("StochasticDepth", '`drop_path(0.1)`, or a number in the column "drop"'),
    ],
)
def test_names_from_elsewhere(name: str, hint: str) -> None:
    assert hints(f"relu >> {name}") == [hint]


def test_a_name_of_the_persons_own_comes_first() -> None:
    assert hints("swsh >> swish", "let:", "  swish: relu") == ["did you mean 'swish'?"]


def test_a_suggestion_leads_in_no_circle() -> None:
    text = ["let:", "  blocks: norms >> relu", "  norm: block", "  block: nrm"]
    near = hints("norm", "let:", "  norm: nrm >> relu")
    assert "did you mean 'norm'?" not in near
    assert all(hint not in ("did you mean 'norm'?", "did you mean 'block'?") for hint in hints("norm", *text[:1], *text[2:]))


def test_a_suggestion_is_of_the_kind_that_fits() -> None:
    assert hints("relu >> flor") == ["names are bound in `let`; `metablock list --operators` shows the operators"]
    assert hints("conv(flor(c / 2))") == ["did you mean 'floor'?"]
    assert "did you mean 'relus'?" not in hints("relus >> relu1(3)", "let:", "  relus: relu")


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("conv(8, kernel_size=3)", "did you mean 'kernel'?"),
        ("conv(8, in_channels=8)", "leave it out: the width that arrives is known"),
        ("conv(8, 3, strides=2)", "did you mean 'stride'?"),
        ("linear(out_features=8)", "did you mean 'out'?"),
        ("linear(units=8)", "did you mean 'out'?"),
        ("attention(num_heads=2)", "did you mean 'heads'?"),
        ("attention(2, embed_dim=8)", "leave it out: the width that arrives is known"),
        ("mlp(mlp_ratio=4)", "did you mean 'r'?"),
        ("mlp(4, act_layer=relu)", "did you mean 'act'?"),
        ("dropout(p=0.1)", "did you mean 'rate'?"),
        ("layer_norm(epsilon=1e-6)", "did you mean 'eps'?"),
        ("layer_norm(elementwise_affine=false)", "did you mean 'affine'?"),
        ("softmax(dim=1)", "leave it out: operators work on channels or on the grid by themselves"),
        ("conv(8, 3, padding_mode=1)", "padding is with zeros"),
    ],
)
def test_arguments_from_elsewhere(call: str, hint: str) -> None:
    assert hints(call) == [hint]


def test_libraries_of_python_are_named() -> None:
    [problem] = problems("nn.Linear(8)")
    assert (problem.message, problem.hint) == (
        "'nn' is a library of Python's, which a spec does not read",
        "did you mean 'linear'?",
    )


def test_every_answer_can_be_written() -> None:
    """An answer before the last one of a row waits for an operator."""
    assert {part for part in ANSWERS if not can_be_written(part)} <= {"pad(1)"}


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("max(relu, sigmoid)", "'max' is a function of numbers, not of modules", "here it is `maximum(a, b)`"),
        ("id * min(relu, 3)", "'min' works on numbers", "here it is `minimum(a, b)`"),
        ("relu >> sum", "'sum' is a function of numbers, not of modules", "`sum([a, b])` adds outputs"),
        ("MLP(2)", "unknown operator 'MLP'", "did you mean 'mlp'?"),
        (
            "x -> x, x >> conv(4)",
            "a comma outside brackets",
            "several outputs are a list, `x -> [a, b]`, or lines with `return a, b`",
        ),
        (
            "relu >> conv(4, 3, groups=c)",
            "`groups=c` in the middle of a chain: `c` is the width at its start",
            "write `groups=w`: `w` is the width that arrives",
        ),
    ],
)
def test_what_people_write_first(body: str, message: str, hint: str) -> None:
    assert [(problem.message, problem.hint) for problem in problems(body)] == [(message, hint)]


@pytest.mark.parametrize("body", ["attention(2, over=near(7), qkv=linear(3 * c))", "1 - id", "chunk(2)[0]"])
def test_what_people_write_first_works(body: str) -> None:
    assert problems(body) == []


def test_a_suggestion_for_the_persons_own_circle() -> None:
    """No hint for `norm: rms_norm(...)` is the binding around it."""
    assert "did you mean 'norm'?" not in hints("norm", "let:", "  norm: rms_norm(1e-6)")


def test_operators_are_listed_by_the_names_of_other_libraries() -> None:
    def listed(pattern: str) -> list[str]:
        return [row.name for row in operators(pattern)]

    assert "silu" in listed("Swish")
    assert listed("LayerNorm") == ["layer_norm"]
    assert listed("MultiheadAttention") == ["attention"]
    with pytest.raises(MetablockError, match="the language has no such operator"):
        operators("PReLU")
