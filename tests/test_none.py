"""`none`: what leads to an absent module is not there either."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import metablock
from metablock.front import check
from metablock.language.load import load_text

MADE = """
name: made
input: image(4, 6, 6)
let:
  token: {token}
  norm: layer_norm
  block: res(norm >> token) >> res(norm >> dw(3))
stages:
  depth: [2]
  body: depth * block
"""


def block(token: str) -> nn.Module:
    model = metablock.build(load_text(MADE.format(token=token)))
    assert model(torch.randn(2, 4, 6, 6)).shape == (2, 4, 6, 6)
    return model.stages[0].blocks[0]


@pytest.mark.parametrize(
    "token",
    [
        "none",
        "pw(8) >> none",
        "pw(4) * none",  # a gate without its other side
        "none * pw(4)",
        "2 * dw(3) >> none",
        "res(pw(4), skip=none) >> none",
        "(pw(4) >> none) + none",
        "prefix >> pw(4)",  # no tokens: what would follow has nothing to work on
        "first(0) >> linear(4) >> relu",
        "none || (linear(2) >> none)",
        "pw(4) if index > 5 else none",
    ],
)
def test_nothing_is_left_of_a_branch(token: str) -> None:
    """Neither its modules nor the layout it had converted what arrives to."""
    found = block(token)
    assert [name for name, _ in found.named_parameters()] == ["norm2.weight", "norm2.bias", "dw.weight", "dw.bias"]
    assert "norm1" not in found.source


@pytest.mark.parametrize("token", ["pw(4) + none", "none + pw(4)", "none || pw(4)", "pw(4) - (linear(4) >> none)"])
def test_a_sum_keeps_what_is_there(token: str) -> None:
    names = [name for name, _ in block(token).named_parameters() if not name.startswith(("norm", "dw"))]
    assert [name.split(".")[-1] for name in names] == ["weight", "bias"]


@pytest.mark.parametrize(
    ("token", "place"),
    [
        ("none >> pw(8)", "none"),
        ("(none) >> pw(8)", "(none)"),
        ("pw(8) >> (dw(3) if c > 8 else none) >> pw(4)", "(dw(3) if c > 8 else none)"),
        ("linear(8) >> (pw(4) >> none) >> relu", "(pw(4) >> none)"),
        ("2 * none >> relu", "2 * none"),
        ("absent >> pw(4)", "absent"),
        ("pw(4) * (none >> pw(4))", "none"),
        ("steps(pw(4) >> none >> pw(4))[0]", "none"),
    ],
)
def test_nothing_vanishes_with_an_absent_module(token: str, place: str) -> None:
    """`none` before the end of a chain would take what follows with it, in silence."""
    text = MADE.format(token=token).replace("  norm:", "  absent: none\n  norm:" if "absent" in token else "  norm:")
    [problem] = check(load_text(text))
    assert problem.message == "`none` before the end of a chain: what follows would vanish, too"
    assert problem.hint == "`id` passes on what arrives, `none` leaves nothing"
    assert problem.span is not None
    assert problem.span.content == place


@pytest.mark.parametrize(
    "slot", ["stem: none", "stages: {body: pw(4), down: none}", "stages: {body: pw(4), end: pw(4) >> none}", "head: none"]
)
def test_a_slot_of_the_network_is_not_absent(slot: str) -> None:
    stages = "" if slot.startswith("stages") else "stages: {body: pw(4)}\n"
    name = slot.split(": none")[0].split()[-1] if ": none" in slot else "end"
    [problem] = check(load_text(f"name: n\ninput: image(3, 8)\n{stages}{slot}\n"))
    assert problem.message == f"the network gives what is absent: `{name}` is `none`"
    assert problem.span is not None
    assert problem.span.content.endswith("none")


def test_a_wire_without_tokens() -> None:
    """What works on it is absent, too, in a line of its own as in a chain."""
    text = "name: n\ninput: image(3, 8)\nmodel: |\n  x ->\n  p = x >> prefix\n  q = p >> linear(3)\n  return x + q\n"
    model = metablock.build(load_text(text))
    x = torch.randn(1, 3, 8, 8)
    assert not list(model.parameters())
    assert torch.equal(model(x), x)
