"""The word `w`, the width that arrives; and warnings of what is allowed in a spec, but may not be meant."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import metablock
from metablock.cli import app
from metablock.errors import MetablockWarning
from metablock.front import front
from metablock.language.load import load_text
from metablock.report.check import check

HEAD = "name: net\ninput: image(8, 16)\nclasses: 10\n"
STARTED = "`c` is the width at the start of the chain, 8, and 16 channels arrive at `{}`"
PADDING = "the default padding is 0 where the stride ({}) is larger than the kernel ({})"


def text(model: str, let: str = "") -> str:
    return f"{HEAD}{let}model: |\n" + "".join(f"  {line.strip()}\n" for line in model.split(";"))


def doubts(model: str, let: str = "") -> list[tuple[str, str | None, str]]:
    noted = front(load_text(text(model, let))).ir.doubts.values()
    return [(doubt.message, doubt.hint, doubt.span.content if doubt.span else "") for doubt in noted]


def shapes(model: str, let: str = "") -> list[tuple[int, ...]]:
    built = metablock.build(load_text(text(model, let)), device="meta")
    return [tuple(p.shape) for name, p in built.named_parameters() if name.endswith("weight")]


# The width that arrives


@pytest.mark.parametrize(
    ("model", "widths"),
    [
        ("conv(2 * c) >> gelu >> conv(w, 3, groups=w)", [(16, 8, 1, 1), (16, 1, 3, 3)]),
        ("conv(2 * c) >> conv(2 * w) >> conv(w // 4)", [(16, 8, 1, 1), (32, 16, 1, 1), (8, 32, 1, 1)]),
        ("conv(w, 1)", [(8, 8, 1, 1)]),  # at the start of a chain it is `c`
        ("conv(2 * c) >> id + conv(w, 1)", [(16, 8, 1, 1), (16, 16, 1, 1)]),
        ("conv(2 * c) >> res(conv(w))", [(16, 8, 1, 1), (16, 16, 1, 1)]),
        ("conv(2 * c) >> (linear(2 * w) >> linear(w))", [(16, 8, 1, 1), (32, 16), (32, 32)]),  # of the inner chain
        ("x ->; y = x >> conv(2 * c); return y >> conv(w, 1) >> conv(c)", [(16, 8, 1, 1), (16, 16, 1, 1), (8, 16, 1, 1)]),
        ("x ->; y = x >> conv(2 * c); z = y >> conv(w); return z", [(16, 8, 1, 1), (16, 16, 1, 1)]),
        ("conv(2 * c) >> attention(w // 4)", [(16, 8, 1, 1), (48, 16), (16, 16)]),
        ("conv(2 * c) >> attention(2, proj=linear(w))", [(16, 8, 1, 1), (48, 16), (16, 16)]),
        ("conv(2 * c) >> 2 * conv(2 * w)", [(16, 8, 1, 1), (32, 16, 1, 1), (64, 32, 1, 1)]),  # each copy's own
        ("conv(2 * c) >> (conv(w) if w > c else conv(1))", [(16, 8, 1, 1), (16, 16, 1, 1)]),
    ],
)  # fmt: skip
def test_the_width_that_arrives(model: str, widths: list[tuple[int, ...]]) -> None:
    assert shapes(model) == widths


def test_bindings_pass_it_on() -> None:
    """A number has the caller's; a module its own, where it is applied."""
    assert shapes("conv(2 * c) >> conv(half) >> conv(half)", "let: {half: w // 2}\n") == [
        (16, 8, 1, 1),
        (8, 16, 1, 1),
        (4, 8, 1, 1),
    ]
    assert shapes("conv(2 * c) >> block(2 * w)", "let:\n  block(n): conv(n) >> conv(w)\n") == [
        (16, 8, 1, 1),
        (32, 16, 1, 1),
        (32, 32, 1, 1),
    ]


@pytest.mark.parametrize(
    ("model", "let"),
    [
        ("conv(2 * c) >> conv(w)", "let: {w: 3}\n"),
        ("f(3)", "let:\n  f(w): conv(2 * c) >> conv(w)\n"),
        ("conv(2 * c) >> conv([w for w in [3]][0])", ""),
    ],
)
def test_own_names_win(model: str, let: str) -> None:
    assert shapes(model, let) == [(16, 8, 1, 1), (3, 16, 1, 1)]


def test_a_wire_called_w() -> None:
    assert shapes("x ->; w = x >> conv(2 * c); return w >> conv(w.c)") == [(16, 8, 1, 1), (16, 16, 1, 1)]


def test_no_width_where_there_is_no_input() -> None:
    with pytest.raises(metablock.MetablockError, match="there is no width `w` here"):
        metablock.build(load_text("name: n\ninput: image(w, 8)\nmodel: conv(3)\n"))


# Widths that may not be meant


@pytest.mark.parametrize(
    ("model", "doubted", "place"),
    [
        ("conv(2 * c, 1) >> gelu >> conv(c, 3, groups=8)", "out=c", "conv(c, 3, groups=8)"),
        ("conv(2 * c, 1) >> gelu >> conv(w, 3, groups=c // 2)", "groups=c // 2", "conv(w, 3, groups=c // 2)"),
        ("linear(2 * c) >> attention(c // 4) >> linear(c)", "heads=c // 4", "attention(c // 4)"),
        ("conv(2 * c) >> group_norm(c // 2)", "groups=c // 2", "group_norm(c // 2)"),
        ("conv(2 * c) >> shuffle(c // 2)", "groups=c // 2", "shuffle(c // 2)"),
        ("x ->; y = x >> conv(2 * c); return y >> group_norm(c // 2)", "groups=c // 2", "group_norm(c // 2)"),
        ("2 * (conv(2 * c) >> id + conv(2 * c, groups=2) >> conv(c))", "out=2 * c", "conv(2 * c, groups=2)"),
    ],
)
def test_a_width_that_may_not_be_meant(model: str, doubted: str, place: str) -> None:
    [(message, hint, where)] = doubts(model)
    assert (message, where) == (STARTED.format(doubted), place)
    assert hint == "write `w` for the width that arrives; `w // 2` means 8 without doubt"


def test_the_hint_does_not_name_another_w() -> None:
    [(_, hint, _)] = doubts("conv(w * c) >> group_norm(c // 2)", "let: {w: 2}\n")
    assert hint == "put the operator into a binding of its own: there `c` is the width that arrives"


@pytest.mark.parametrize(
    ("model", "let"),
    [
        ("linear(4 * c) >> gelu >> linear(c)", ""),  # the multi-layer perceptron
        ("conv(4 * c) >> gelu >> dw(3) >> conv(c)", ""),
        ("conv(2 * c, groups=c // 2) >> gelu >> conv(c)", ""),  # at the start they are one
        ("conv(2 * c) >> conv(w, 3, groups=w) >> attention(w // 4) >> linear(c)", ""),
        ("conv(2 * c) >> conv(16, 3, groups=2)", ""),
        ("conv(2 * c) >> deep", "let: {deep: 'conv(c, 3, groups=c)'}\n"),  # of its own body
        ("conv(2 * c) >> attention(2, proj=conv(c, groups=2))", ""),  # where the argument is applied
    ],
)
def test_idioms_are_not_doubted(model: str, let: str) -> None:
    assert doubts(model, let) == []


# Padding


@pytest.mark.parametrize(
    ("call", "stride", "kernel", "padding"),
    [
        ("dw(3, stride=4)", 4, 3, 1),
        ("conv(4, 5, stride=8)", 8, 5, 2),
        ("conv(4, [1, 3], stride=[1, 4])", 4, 3, 1),
        ("max_pool(3, stride=5)", 5, 3, 1),
        ("avg_pool(3, stride=4)", 4, 3, 1),
        ("unfold(3, stride=4)", 4, 3, 1),
        ("std_conv(4, 3, stride=4, padding=none)", 4, 3, 1),
    ],
)
def test_a_padding_that_may_not_be_meant(call: str, stride: int, kernel: int, padding: int) -> None:
    hint = f"write `padding={padding}`, as most code has it, or `padding=0`"
    assert doubts(call) == [(PADDING.format(stride, kernel), hint, call)]


@pytest.mark.parametrize(
    "call",
    ["conv(4, 1, stride=2)", "conv(4, 2, stride=4)", "conv(4, 4, stride=4)", "conv(4, 3, stride=2)", "conv(4, 3, stride=4, padding=0)",
     "conv(4, 3, stride=4, dilation=2)", "std_conv(4, 3, stride=4)", "deconv(4, 3, stride=4, padding=0)", 'max_pool(3, stride=4, padding="same")'],
)  # fmt: skip
def test_a_padding_that_is_meant(call: str) -> None:
    assert doubts(call) == []


# Where they are said


def test_once_for_a_place() -> None:
    """Not for each stage, copy and variant, whose widths differ."""
    body = "stages: {dim: [8, 16], depth: 3, body: depth * block}\nvariants: {small: {}, large: {dim: [16, 32]}}\n"
    let = "let: {block: 'conv(2 * c) >> group_norm(c // 2) >> conv(dim)'}\n"
    assert len(front(load_text(HEAD + let + body)).ir.doubts) == 1


def test_build_warns() -> None:
    with pytest.warns(MetablockWarning, match="the default padding is 0"):
        metablock.build(load_text(text("conv(4, 3, stride=4)")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = metablock.build(load_text(text("conv(4, 3, stride=4, padding=1)")))
        assert model(torch.zeros(1, 8, 20, 12)).shape == (1, 4, 5, 3)


def test_another_size_does_not_warn_again() -> None:
    with pytest.warns(MetablockWarning):
        model = metablock.build(load_text(text("conv(4, 3, stride=4)")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(torch.zeros(1, 8, 20, 12))


def test_check_says_them_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(text("conv(4, 3, stride=4)\n"))
    noted: list = []
    assert check(str(file), doubts=noted) == () and len(noted) == 1
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 0 and not result.stdout
    assert result.stderr.startswith(f"warning: {file}:5:3: the default padding is 0")
    [report] = json.loads(CliRunner().invoke(app, ["check", "--json", str(file)]).stdout)
    assert report["problems"] == [] and [problem["line"] for problem in report["warnings"]] == [5]
