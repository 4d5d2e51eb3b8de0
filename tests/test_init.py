"""Initialisation rules and what they select."""

from __future__ import annotations

import math

import pytest
import torch

import metablock
from metablock.api import resolved, shaped
from metablock.catalogue import parse_spec
from metablock.errors import SpecError

TEXT = """
name: i
input: image(4, 8)
let:
  route: conv(16) >> relu >> conv(8)
stages:
  body: res(route >> conv(4))
head: global_pool >> linear(9) >> layer_norm
init: {RULES}
"""


def state(rules: str, **options) -> dict[str, torch.Tensor]:
    return metablock.build(parse_spec(TEXT.replace("{RULES}", "{" + rules + "}")), **options).state_dict()


def test_an_operator_a_slot_a_parameter() -> None:
    s = state("conv: ones, route: zeros, head.linear.bias: constant(3)")
    assert s["stages.0.blocks.0.conv.weight"].eq(1).all() and s["stages.0.blocks.0.conv.bias"].eq(0).all()
    assert s["stages.0.blocks.0.route.conv1.weight"].eq(0).all()
    assert s["head.linear.bias"].eq(3).all() and s["head.linear.weight"].ne(0).all()


def test_the_most_specific_rule_wins_then_the_last() -> None:
    s = state("route.conv: ones, conv: zeros, route.conv2: constant(2)")
    assert s["stages.0.blocks.0.route.conv1.weight"].eq(1).all()
    assert s["stages.0.blocks.0.route.conv2.weight"].eq(2).all()
    assert s["stages.0.blocks.0.conv.weight"].eq(0).all()


def test_torch_keeps_what_the_operator_does() -> None:
    plain, kept = state(""), state("conv: ones, route: torch, route.conv: torch")
    name = "stages.0.blocks.0.route.conv1.weight"
    assert torch.equal(plain[name], kept[name])


@pytest.mark.parametrize(
    ("rule", "std"),
    [
        ("trunc_normal(0.02)", 0.02),
        ("normal(0.5)", 0.5),
        ("kaiming_normal(fan_out)", math.sqrt(2 / 9)),
        ("kaiming_uniform(0)", math.sqrt(2 / 4096)),
        ("lecun_normal", math.sqrt(1 / 4096)),
        ("xavier_uniform", math.sqrt(2 / (4096 + 9))),
        ("xavier_normal", math.sqrt(2 / (4096 + 9))),
        ("uniform(1)", 1 / math.sqrt(3)),
        ("normal(fan_out)", math.sqrt(2 / 9)),
        ("normal(inputs)", 1 / 4096),
        ("uniform(fan_out)", 1 / 3 / math.sqrt(3)),
    ],
)
def test_spread(rule: str, std: float) -> None:
    spec = parse_spec(f"name: i\ninput: image(4096, 2)\nstages: {{body: id}}\nhead: global_pool >> linear(9)\ninit: {{linear: {rule}}}\n")
    weight = metablock.build(spec).state_dict()["head.linear.weight"]
    assert abs(weight.std().item() / std - 1) < 0.03


@pytest.mark.parametrize(
    ("rule", "message", "hint"),
    [
        ("trunc_norml(0.02)", "unknown initialisation 'trunc_norml'", "did you mean 'trunc_normal'?"),
        ("3", "'3' is no initialisation", "write `trunc_normal(0.02)`, `zeros`, `torch` ..."),
        ("normal(1 + 1)", "an initialisation takes numbers", "write the number itself"),
    ],
)
def test_mistakes(rule: str, message: str, hint: str) -> None:
    spec = parse_spec(TEXT.replace("{RULES}", f"\n  linear: {rule}"), "i.yaml")
    with pytest.raises(SpecError) as caught:
        shaped(resolved(spec))
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == (message, hint) and problem.span is not None


def test_random_matrices_are_softmaxes() -> None:
    model = metablock.build("randformer_s12", input="3x64x64", edits=["depth = [0, 0, 1, 0]"])
    matrix = model.stages[2].blocks[0].token.matrix.weight
    assert not matrix.requires_grad
    torch.testing.assert_close(matrix.sum(-1), torch.ones(len(matrix)))
