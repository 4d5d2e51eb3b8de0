"""Methods: files that say how a backbone is trained. All that are shipped, and those of the examples."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import SMALL_VIT
from torch import Tensor, nn

import metablock
from metablock.api import assemble, example
from metablock.backend import costs
from metablock.backend.block import Block
from metablock.backend.objective import drawn_inputs, pairs
from metablock.errors import MetablockError, MetablockWarning, SpecError
from metablock.front import front
from metablock.language.format import format_text, show_spec
from metablock.language.method_checks import check_method
from metablock.language.methods import load_method, open_method
from metablock.language.resources import methods
from metablock.language.spec import Spec

EXAMPLES = Path(__file__).parent.parent / "examples" / "methods"
FILES = {**methods(), **{path.stem: path for path in sorted(EXAMPLES.glob("*.yaml"))}}
FACTS = [(name, row[0]) for name in methods() for row in open_method(name).facts.rows]

# A network with two heads, and a ViT whose class token comes with the stages.
TWO_HEADS = SMALL_VIT.replace(
    "head: norm >> take(0) >> linear(classes)",
    "head: |\n  x ->\n  y = x >> norm >> take(0)\n  return a = y >> linear(classes), b = y >> linear(classes)",
)
LATE_TOKEN = SMALL_VIT.replace("image(3, 32)", "image(3, 64)").replace(
    "stem: embed >> class_token >> position\nstages: {", "stem: embed\nstages: {down: class_token >> position, "
)
BACKBONES = {"beit_pretraining": LATE_TOKEN, "deit_distillation": TWO_HEADS}
EDITS = {
    "beit_pretraining": ["p = 8", "words = 12", "count = 30"],
    "dino": ["words = 32", "project = linear(16) >> l2norm >> linear(words, bias=false)"],
    "mae": ["p = 8", "decoder_width = 24", "decoder_depth = 1", "decoder_heads = 3"],
    "moco_v3": ["hidden = linear(24, bias=false) >> bn >> relu", "last = linear(16, bias=false) >> batch_norm(affine=false)"],
    "simmim": ["p = 8"],
}


def method_of(name: str) -> Spec:
    return open_method(str(FILES[name]))


def small(name: str, text: str = "", edits: list[str] | None = None, **options: Any) -> Block:
    """The network that trains a small backbone by a method."""
    spec = metablock.load_text(text or BACKBONES.get(name, SMALL_VIT))
    return metablock.build(spec, method=str(FILES[name]), edits=[*EDITS.get(name, []), *(edits or [])], **options)


def batch(model: Block, n: int = 8) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Inputs, drawn ones too, and labels."""
    classes = model.ir.objective and 5
    return example(model, n, seed=1), {"label": torch.arange(n) % classes, "target": torch.randn(n, classes).softmax(-1)}


def refused(name: str, text: str, edits: list[str] | None = None) -> SpecError:
    with pytest.raises(SpecError) as caught:
        small(name, text, edits, device="meta")
    return caught.value


# Every method


@pytest.mark.parametrize("name", FILES)
def test_its_file_checks_and_is_formatted(name: str) -> None:
    assert check_method(load_method(FILES[name])) == []
    text = FILES[name].read_text(encoding="utf-8")
    assert format_text(text) == text


@pytest.mark.parametrize("name", FILES)
def test_its_network_prints_as_one_file(name: str) -> None:
    model = small(name, device="meta")
    text = show_spec(model.spec)
    again = metablock.load_text(text)
    assert again == model.spec and show_spec(again) == text and format_text(text) == text
    other = metablock.build(again, device="meta")
    assert [*other.state_dict()] == [*model.state_dict()]
    assert (other.ir.sources, other.ir.objective, other.ir.averages) == (model.ir.sources, model.ir.objective, model.ir.averages)


@pytest.mark.parametrize(("name", "backbone"), FACTS, ids=[f"{name}-{backbone}" for name, backbone in FACTS])
def test_its_facts(name: str, backbone: str) -> None:
    table = open_method(name).facts
    facts = next(dict(zip(table.header, row, strict=True)) for row in table.rows if row[0] == backbone)
    spec, ir = front(backbone, method=name)
    model = assemble(spec, replace(ir, prediction=None, prediction_steps=[]), device="meta")
    trainable, frozen = costs.parameters(model)
    values = {"params": trainable + frozen, "trainable": trainable}
    if facts.get("macs", "-") != "-":
        values["macs"] = costs.macs(model, *example(model))[""]
    for key, value in values.items():
        assert facts.get(key, "-") in ("-", str(value)), key


@pytest.mark.parametrize("name", FILES)
def test_its_loss_falls(name: str) -> None:
    """A few steps on one batch; frozen parts, and averages between their steps, stay."""
    model = small(name)
    inputs, data = batch(model)
    still = {key: p.clone() for key, p in model.named_parameters() if not p.requires_grad}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    values = []
    for _ in range(6):
        terms = metablock.losses(model, *inputs, **data)
        assert all(term.shape == () and term.isfinite() for term in terms.values())
        values.append(sum(terms.values()).item())
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    assert values[-1] < values[0]
    assert all(torch.equal(model.get_parameter(key), value) for key, value in still.items())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    unused = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused


@pytest.mark.parametrize("name", FILES)
def test_it_predicts(name: str) -> None:
    """In evaluation the same input has the same answer, an answer for each example; drawn inputs do not decide it."""
    model = small(name).eval()
    (x, *others), _ = batch(model, 3)
    with torch.no_grad():
        first, second = model(x, *others), model(x, *[torch.rand_like(other) for other in others])
    assert len(first) == 3 and first.isfinite().all()
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", FILES)
def test_it_refuses_other_sizes(name: str) -> None:
    model = small(name)
    (x, *others), data = batch(model, 2)
    with pytest.raises((MetablockError, ValueError, RuntimeError)) as caught:
        metablock.losses(model, nn.functional.pad(x, (0, 8)), *others, **data)
    assert isinstance(caught.value, (MetablockError, ValueError)), caught.value


# Names


@pytest.mark.parametrize("name", ["norm", "bn", "linear", "gelu", "l2norm", "keep", "decoder", "final"])
@pytest.mark.parametrize("method", ["mae", "moco_v3", "simmim"])
def test_the_backbone_s_bindings_do_not_reach_the_method(method: str, name: str) -> None:
    """A backbone binds a name that the method uses, or what it uses leads to: its own stages take it, the method's parts do not."""

    def parts(text: str) -> dict[str, torch.Size]:
        state = small(method, text, device="meta").state_dict()
        return {key: value.shape for key, value in state.items() if not key.startswith("stages.") and ".stages." not in key}

    plain = SMALL_VIT.replace("norm >> mlp(4)", "norm >> lift").replace("let:\n", "let:\n  lift: attention(2)\n")
    if method != "moco_v3" or name == "linear":  # without a classifier
        plain = plain.replace(
            "  norm: layer_norm(1e-6)\n", "  ln: layer_norm(1e-6)\n  encoder: embed >> class_token >> position >> take(0)\n"
        )
        plain = plain.replace("norm >>", "ln >>").replace("head: ln >> take(0) >> linear(classes)", "head: ln >> take(0)")
        if method == "moco_v3":
            start = plain.index("stem:")
            plain = plain[:start] + "model: encoder >> NAME\n"
            plain = plain.replace("  lift: attention(2)\n", "").replace("  ln: layer_norm(1e-6)\n", "")
        else:
            plain = plain.replace("  encoder: embed >> class_token >> position >> take(0)\n", "")
    if name == "norm" and "  norm: " in plain:
        assert parts(plain.replace("layer_norm(1e-6)", "rms_norm")).keys() <= parts(plain).keys()
        return
    other = plain.replace("let:\n", f"let:\n  {name}: relu\n")
    other = other.replace("NAME", name).replace("body: depth *", f"body: {name} >> depth *")
    assert parts(other) == parts(plain.replace("NAME", "relu"))


@pytest.mark.parametrize("method", ["mae", "moco_v3", "simmim"])
def test_the_method_s_bindings_do_not_reach_the_backbone(method: str) -> None:
    """The stages have the parameters that they have alone, by the backbone's own `norm`."""
    text = SMALL_VIT.replace("layer_norm(1e-6)", "rms_norm")
    alone = metablock.build(metablock.load_text(text), device="meta").state_dict()
    around = small(method, text, device="meta").state_dict()
    assert {key for key in alone if key.startswith("stages")} == {key for key in around if key.startswith("stages")}
    theirs = {"mae": "final.bias", "moco_v3": "base.last.linear.weight", "simmim": "final.bias"}
    assert theirs[method] in around


# Holes


def test_a_part_is_missing() -> None:
    wrong = refused("mae", SMALL_VIT.replace("embed", "patch"))
    assert "'small_vit' has no binding 'embed', which the method 'mae' takes" in str(wrong)
    assert wrong.problems[0].span is not None
    assert "does not end in `linear(classes)`" in str(refused("moco_v3", SMALL_VIT.replace("linear(classes)", "pw(classes)")))
    assert "<spec>:10:7" in str(refused("moco_v3", SMALL_VIT.replace("linear(classes)", "linear(5)")))


def test_a_part_gives_something_else() -> None:
    assert "leaves `stem`, the method expects a map" in str(refused("beit_pretraining", SMALL_VIT.replace("3, 32", "3, 64")))
    vector = SMALL_VIT.replace("embed: conv(48, 8, stride=8)", "embed: conv(48, 8, stride=8) >> global_pool")
    assert "vector of 48 leaves `embed`, the method expects a map" in str(refused("mae", vector))
    assert "takes arguments" in str(
        refused("mae", SMALL_VIT.replace("embed: conv(48", "embed(w): conv(w").replace("stem: embed", "stem: embed(48)"))
    )
    two = SMALL_VIT.replace("input: image(3, 32)", "input:\n  a: image(3, 32)\n  b: image(3, 32)")
    assert "has 2 inputs; a method takes a backbone with one" in str(refused("mae", two))


def test_stages_that_need_a_map() -> None:
    """The seen patches of MAE lie on no grid."""
    wrong = refused("mae", SMALL_VIT.replace("body: depth *", "body: (patches >> conv(48, 3)) >> depth *"))
    assert wrong.problems[0].span is not None and wrong.problems[0].span.text.name == "<spec>"


def test_patches_of_another_size() -> None:
    """The noise of 2x2 patches says nothing about 4x4."""
    assert "an order of 4 tokens meets 16" in str(refused("mae", SMALL_VIT, ["p = 16"]))
    with pytest.raises(SpecError):
        small("simmim", SMALL_VIT, ["p = 16"], device="meta")


# Edits


def test_edits_of_method_and_backbone() -> None:
    model = small("mae", edits=["ratio = 0.5", "depth = 1", "norm = rms_norm"], device="meta")
    assert model.spec.method.let["ratio"].body.value == 0.5
    assert model.spec.method.let["norm"] == method_of("mae").let["norm"]  # the backbone has one of this name
    names = [*model.state_dict()]
    assert "stages.0.blocks.0.norm1.bias" not in names and "final.bias" in names
    assert "stages.0.blocks.1.norm1.weight" not in names
    wrong = refused("mae", SMALL_VIT, ["decodr_depth = 3"])
    assert "nor a binding of the method 'mae'" in str(wrong) and "did you mean 'decoder_depth'?" in str(wrong)


# Averages, frozen parts, drawn inputs


def test_an_average_follows_what_it_copies() -> None:
    model = small("moco_v3", dtype=torch.float64)
    [average] = model.ir.averages
    both = list(pairs(model, average))
    names = {id(p): key for key, p in model.named_parameters()}
    assert len(both) == sum(key.startswith("momentum.") for key in names.values())
    for own, other in both:
        assert torch.equal(own, other) and own is not other and not own.requires_grad
        assert names[id(own)].removeprefix("momentum.") == names[id(other)].removeprefix("base.")
    for progress, momentum in ((0.0, 0.99), (0.5, 0.995), (1.0, 1.0)):
        before = [(own.clone(), other.detach().normal_().clone()) for own, other in both]
        metablock.update_averages(model, progress)
        for (own, other), (old, theirs) in zip(both, before, strict=True):
            assert torch.equal(other, theirs)
            torch.testing.assert_close(own.detach(), momentum * old + (1 - momentum) * theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("stem", {"stem.embed.weight", "stem.embed.bias", "stem.class_token.learned.weight", "stem.position.weight"}),
        ("position", {"stem.position.weight"}),
        ("stages.0.blocks.1.mlp", {f"stages.0.blocks.1.mlp.linear{k}.{kind}" for k in (1, 2) for kind in ("weight", "bias")}),
        ("head.norm", {"head.norm.weight", "head.norm.bias"}),
    ],
)
def test_what_freeze_selects(selector: str, names: set[str]) -> None:
    model = metablock.build(metablock.load_text(SMALL_VIT.replace("head:", f"freeze: [{selector}]\nhead:")), device="meta")
    assert {key for key, p in model.named_parameters() if not p.requires_grad} == names


def test_freeze_names_nothing() -> None:
    with pytest.raises(SpecError, match="'nothing' in `freeze` is no part of this network"):
        metablock.build(metablock.load_text(SMALL_VIT.replace("head:", "freeze: [nothing]\nhead:")), device="meta")
    with pytest.warns(MetablockWarning, match="the method 'moco_v3' freezes 'embed', which 'small_vit' does not have"):
        small("moco_v3", SMALL_VIT.replace("embed", "patch"), device="meta")


@pytest.mark.parametrize("name", ["beit_pretraining", "mae", "simmim"])
def test_drawn_inputs_come_from_the_seed(name: str) -> None:
    model = small(name)
    (x, *others), data = batch(model, 4)
    views = [x, *others[:-1]]
    assert model.ir.sources[-1].drawn

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        [value] = drawn_inputs(model, views)
        return value

    assert torch.equal(drawn(3), drawn(3)) and not torch.equal(drawn(3), drawn(4))
    assert drawn(3).shape == others[-1].shape and not torch.equal(drawn(3)[0], drawn(3)[1])
    torch.manual_seed(3)
    loss = sum(metablock.losses(model, *views, **data).values())
    assert torch.equal(loss, sum(metablock.losses(model, *views, drawn(3), **data).values()))


def test_blocks_that_hide_nothing() -> None:
    assert "no block fits into 4 places: nothing is hidden" in str(refused("beit_pretraining", LATE_TOKEN, ["count = 4"]))


def test_blocks_hide_up_to_their_count() -> None:
    mask = drawn_inputs(model := small("beit_pretraining"), batch(model, 16)[0][:2])[0]
    assert set(mask.unique().tolist()) <= {0.0, 1.0} and 0 < mask.sum((1, 2, 3)).max() <= 30


# Weights


@cache
def trained(name: str) -> Block:
    """The network of a method with weights that no other network begins with."""
    return small(name, seed=7)


@pytest.mark.parametrize("kind", ["pth", "safetensors", "network"])
@pytest.mark.parametrize("name", ["mae", "moco_v3", "simmim", "beit_pretraining"])
def test_weights_carry_over(name: str, kind: str, tmp_path: Path) -> None:
    """All of the backbone but its classifier; the report says from where."""
    around = trained(name)
    state = around.state_dict()
    weights: Any = around
    if kind == "pth":
        torch.save(state, weights := tmp_path / "w.pth")
    elif kind == "safetensors":
        metablock.write(around, weights := tmp_path / "w.safetensors")
    spec = metablock.load_text(BACKBONES.get(name, SMALL_VIT))
    with pytest.warns(MetablockWarning, match="keep their initial values: head"):
        model = metablock.build(spec, weights=weights)
    assert model.loaded.source == f"method {name}"
    assert sorted(model.loaded.initial) == ["head.linear.bias", "head.linear.weight"]
    for ours, theirs in model.loaded.used.items():
        theirs = theirs if isinstance(theirs, str) else theirs[0]
        assert torch.equal(model.state_dict()[ours], state[theirs])
    assert {*model.loaded.left, *model.loaded.used.values()} >= {key for key in state if "num_batches" not in key}
