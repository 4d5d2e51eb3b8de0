"""Initialisation rules and what they select."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import metablock
from metablock.errors import SpecError
from metablock.front import front, resolved
from metablock.language.load import load_text

HINT = "write the number itself, or what it is by `layer`, `layers`, `fan_in`, `fan_out`"
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
    return metablock.build(load_text(TEXT.replace("{RULES}", "{" + rules + "}")), **options).state_dict()


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
        ("trunc_normal(std=0.02)", 0.02),
        ("normal(0.5)", 0.5),
        ("kaiming_normal(fan_out)", math.sqrt(2 / 9)),
        ("kaiming_uniform(0)", math.sqrt(2 / 4096)),
        ("lecun_normal", math.sqrt(1 / 4096)),
        ("xavier_uniform", math.sqrt(2 / (4096 + 9))),
        ("xavier_uniform(2)", 2 * math.sqrt(2 / (4096 + 9))),
        ("xavier_normal", math.sqrt(2 / (4096 + 9))),
        ("uniform(1)", 1 / math.sqrt(3)),
        ("normal(fan_out)", math.sqrt(2 / 9)),
        ("normal(inputs)", 1 / 4096),
        ("uniform(fan_out)", 1 / 3 / math.sqrt(3)),
    ],
)
def test_spread(rule: str, std: float) -> None:
    spec = load_text(
        f"name: i\ninput: image(4096, 2)\nstages: {{body: id}}\nhead: global_pool >> linear(9)\ninit: {{linear: {rule}}}\n"
    )
    weight = metablock.build(spec).state_dict()["head.linear.weight"]
    assert abs(weight.std().item() / std - 1) < 0.03


def test_uniform_around_a_mean() -> None:
    text = "name: i\ninput: image(64, 2)\nmodel: learned(99, 64)\ninit: {learned: 'uniform(0.5, mean=1.5)'}\n"
    weight = metablock.build(load_text(text)).state_dict()["learned.weight"]
    assert 1 <= weight.min() < 1.01
    assert 1.99 < weight.max() < 2


@pytest.mark.parametrize(
    ("rule", "message", "hint"),
    [
        ("trunc_norml(0.02)", "unknown initialisation 'trunc_norml'", "did you mean 'trunc_normal'?"),
        ("3", "'3' is no initialisation", "write `trunc_normal(0.02)`, `zeros`, `torch` ..."),
        ("normal(gelu(1))", "an initialisation takes numbers", HINT),
        ('trunc_normal("fan_out")', 'unknown std "fan_out"', "write a number"),
        ("normal(-1)", "`std` is -1", "write a number from 0"),
        ("trunc_normal(0)", "`std` is 0", "write a number above 0"),
        ('kaiming_normal("fan")', 'unknown mode "fan"', "did you mean 'fan_in'?"),
        ("kaiming_normal(3)", "`mode` is a word", "known: fan_in, fan_out"),
        ("normal(0.1, 0, 3)", "'normal' takes 2 arguments", "it is normal(std, mean)"),
        ("zeros(1)", "'zeros' takes no arguments", "it is zeros()"),
        ("constant", "'constant' needs the argument 'value'", "it is constant(value, then, after)"),
        ("normal(st=1)", "'normal' has no argument 'st'", "did you mean 'std'?"),
        ("normal(0.1, std=0.2)", "argument 'std' is given twice", "remove one of them"),
    ],
)
def test_mistakes(rule: str, message: str, hint: str) -> None:
    spec = load_text(TEXT.replace("{RULES}", f"\n  linear: {rule}"), "i.yaml")
    with pytest.raises(SpecError) as caught:
        front(resolved(spec))
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == (message, hint) and problem.span is not None


def test_random_matrices_are_softmaxes() -> None:
    model = metablock.build("randformer_s12", input="3x64x64", edits=["depth = [0, 0, 1, 0]"])
    matrix = model.stages[2].blocks[0].token.matrix.weight
    assert not matrix.requires_grad
    torch.testing.assert_close(matrix.sum(-1), torch.ones(len(matrix)))


def test_sinusoid_counts_the_class_token() -> None:
    """A table that is not trained: sines and cosines of the place, place 0 being the class token's."""
    model = metablock.build("t2t_vit", variant="t2t_vit_7", edits=["depth = 0"], input="3x64x64")
    table = model.stem.position.weight
    assert table.shape == (1, 17, 256) and not table.requires_grad
    torch.testing.assert_close(table[0, 0], torch.tensor([0.0, 1.0]).repeat(128))
    torch.testing.assert_close(
        table[0, 3, 10:12], torch.tensor([math.sin(3 / 10000 ** (10 / 256)), math.cos(3 / 10000 ** (10 / 256))])
    )


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_transposed_convolution_that_interpolates(factor: int, groups: int) -> None:
    """Between the centres of the outermost pixels it is what `upsample` does; of an odd factor the kernel is one less wide."""
    up = f"deconv(3, {2 * factor - factor % 2}, stride={factor}, groups={groups}, bias=false)"
    net = f"name: i\ninput: image(3, 4)\nmodel: {up}\ninit: {{deconv: bilinear}}\n"
    model, x = metablock.build(load_text(net)), torch.randn(1, 3, 4, 4)
    inside = slice(factor, -factor)
    expected = nn.functional.interpolate(x, scale_factor=factor, mode="bilinear")
    torch.testing.assert_close(model(x)[:, :, inside, inside], expected[:, :, inside, inside])


def test_what_cannot_interpolate() -> None:
    text = "name: i\ninput: image(3, 4)\nmodel: deconv(6, 4, stride=2)\ninit: {deconv: bilinear}\n"
    with pytest.raises(SpecError, match="`bilinear` for weights of shape \\(3, 6, 4, 4\\)"):
        metablock.build(load_text(text))


def test_numbers_by_the_block() -> None:
    """The number of the block in the network, over the stages."""
    stages = "{depth: [2, 1], body: depth * res(linear(c))}"
    rule = "normal(0.02 / (layer + 1) ** 0.5)"
    spec = load_text(f"name: i\ninput: image(256, 2)\nstages: {stages}\ninit: {{linear: {rule}}}\n")
    weights = [p for name, p in metablock.build(spec).state_dict().items() if name.endswith("weight")]
    assert [round(float(w.std() / weights[0].std()), 2) for w in weights] == [1.0, 0.71, 0.58]


def test_a_normal_cut_at_one_deviation() -> None:
    spec = load_text("name: i\ninput: image(256, 2)\nstages: {body: linear(c)}\ninit:\n  linear: trunc_normal(0.02, 0.02)\n")
    (weight,) = [p for p in metablock.build(spec).state_dict().values() if p.dim() == 2]
    assert 0.0199 < float(weight.abs().max()) <= 0.02


def test_a_number_that_is_none() -> None:
    spec = load_text("name: i\ninput: image(4, 2)\nstages: {body: linear(c)}\ninit: {linear: normal(1 / layer)}\n")
    with pytest.raises(SpecError, match="'1 / layer' is no number in block 0"):
        metablock.build(spec)


def test_the_kernel_of_a_patch_as_a_matrix() -> None:
    """MAE, MoCo v3: the fan-out counts outputs, not outputs times extents."""
    text = "name: i\ninput: image(3, 64)\nmodel: conv(256, 16, stride=16)\ninit:\n  conv: xavier_uniform{}\n"
    kernel, matrix = (metablock.build(load_text(text.format(rule))).state_dict()["conv.weight"] for rule in ("", "(1, matrix)"))
    assert kernel.abs().max().item() == pytest.approx(math.sqrt(6 / (259 * 256)), rel=0.01)
    assert matrix.abs().max().item() == pytest.approx(math.sqrt(6 / (768 + 256)), rel=0.01)
    assert torch.equal(metablock.build(load_text(text.format("(1, kernel)"))).state_dict()["conv.weight"], kernel)


def test_numbers_by_the_fans_and_the_depth() -> None:
    """Each matrix has its own inputs; `layers` counts the blocks of all stages."""
    text = "name: i\ninput: series(16, 4)\nstages:\n  depth: [2, 1]\n  body: depth * (linear(400) >> linear(c))\n"
    rules = "init:\n  linear: normal((fan_in * layers) ** -0.5)\n  linear2: normal(1 / fan_out)\n"
    model = metablock.build(load_text(text + rules))
    for stage, block in ((0, 1), (1, 0)):
        part = model.stages[stage].blocks[block]
        assert part.linear1.weight.std().item() == pytest.approx((16 * 3) ** -0.5, rel=0.05)
        assert part.linear2.weight.std().item() == pytest.approx(1 / 16, rel=0.05)
    for rule, message in {"trunc_normal(fan_in)": 'unknown std "fan_in"', "normal(0.1 * width)": "takes numbers"}.items():
        with pytest.raises(SpecError, match=message):
            metablock.build(load_text(f"{text}init: {{linear: {rule}}}\n"))
    with pytest.raises(SpecError, match="`fan_in` of a parameter with one axis"):
        metablock.build(load_text(f"{text}init: {{linear.bias: normal(fan_in ** -0.5)}}\n"))


def test_a_number_in_a_selector_belongs_to_what_it_counts() -> None:
    text = "name: n\ninput: image(3, 8)\nstages: {depth: [2, 2], body: depth * conv(3)}\ninit: {stages.0: ones}"
    weights = {name: float(w.mean()) for name, w in metablock.build(load_text(text)).state_dict().items() if "weight" in name}
    assert {name for name, mean in weights.items() if mean == 1} == {f"stages.0.blocks.{i}.weight" for i in range(2)}
    model = metablock.build(load_text(text.replace("init: {stages.0: ones}", "freeze: [stages.0]")))
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        f"stages.1.blocks.{i}.{part}" for i in range(2) for part in ("weight", "bias")
    }


def test_a_constant_may_change_behind_the_first_entries() -> None:
    text = "name: n\ninput: image(3, 8)\nmodel: linear(5)\ninit: {linear.bias: 'constant(0, then=-2, after=3)'}"
    assert metablock.build(load_text(text)).linear.bias.tolist() == [0, 0, 0, -2, -2]
