"""Weights given back under the names they came with; first and last layers for other channels and classes."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from cases import RULES, SMALLEST, SPECS
from torch import Tensor, nn

import metablock
from metablock.backend.draws import DrawQueue
from metablock.language.load import load_text
from metablock.weights.export_names import export_state, layout, read_layout
from metablock.weights.loading import load_weights
from oracles import golden, goldens, require, variant_of

# Of timm's models those that have our names, the smallest of each file first.
TIMM = {
    name: sorted(spec.variants, key=lambda variant, spec=spec: int(spec.facts.of(variant)["params"]))
    for name, spec in SPECS.items()
}


WHOLE = os.environ.get("METABLOCK_WHOLE") == "1"
# Larger ones are only brought back with METABLOCK_WHOLE=1: their rules are those of smaller ones, or of other recordings.
LARGE = 16e6


def numbered(shapes: dict) -> dict[str, Tensor]:
    """A checkpoint in which every tensor has numbers of its own."""
    return {
        key: torch.arange(torch.Size(shape).numel()).float().add(i).reshape(shape)
        for i, (key, shape) in enumerate(shapes.items())
    }


def classes_of(name: str, variant: str) -> int:
    return metablock.resolved(SPECS[name], variant=variant).classes


def equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    found = {key: value for key, value in found.items() if not key.endswith("num_batches_tracked")}
    return found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("path", [name for name in goldens() if name.split("__")[0] in SPECS])
def test_official_names(path: str) -> None:
    """Through our names and back, to the bit. Without the shapes there either the same, or it is said that they are needed."""
    recorded = golden(path)
    if recorded["params"] > LARGE and not WHOLE:
        pytest.skip("large: METABLOCK_WHOLE=1")
    if recorded["kept"]:
        pytest.skip("has frozen tables that the recording does not keep")
    spec, variant, state = SPECS[recorded["slug"]], variant_of(recorded["variant"]), numbered(recorded["keys"])
    if variant.endswith("_deploy"):
        model = metablock.reparameterize(metablock.build(spec, variant=variant.removesuffix("_deploy")).eval())
        report = load_weights(model, state, spec)
    else:
        model = metablock.build(spec, variant=variant, weights=state)
        report = model.loaded
    wanted = {key: value for key, value in state.items() if key in report.shapes}
    try:
        assert equal(export_state(model, spec, report.source), wanted)
    except metablock.MetablockError as reason:
        assert "does not follow from that of" in str(reason)  # noqa: PT017
        assert equal(export_state(model, spec, report.source, report.shapes), wanted)


@pytest.mark.parametrize("name", TIMM)
def test_every_model_of_timm(name: str) -> None:
    """All fit (with METABLOCK_WHOLE=1); the smallest comes back to the bit."""
    timm = require("timm")
    variants = [variant for variant in TIMM[name] if timm.is_model(variant)]
    if not variants:
        pytest.skip("timm has none of its names")
    classes = {variant: classes_of(name, variant) for variant in variants}
    for variant in variants[1:] if WHOLE else ():
        with torch.device("meta"):
            state = timm.create_model(variant, num_classes=classes[variant]).state_dict()
        model = metablock.build(name, variant=variant, device="meta", weights=state)
        assert model.loaded.complete
        assert not model.loaded.adapted
    theirs = timm.create_model(variants[0], num_classes=classes[variants[0]]).state_dict()
    state = numbered({key: tuple(value.shape) for key, value in theirs.items()})
    model = metablock.build(name, variant=variants[0], weights=state)
    found = export_state(model, model.spec, model.loaded.source, model.loaded.shapes)
    assert equal(found, {key: value for key, value in state.items() if key in found and not key.endswith("num_batches_tracked")})
    assert found.keys() >= model.loaded.shapes.keys()


def test_what_cannot_be_given_back() -> None:
    spec = load_text(RULES)
    model = metablock.build(spec)
    with pytest.raises(metablock.MetablockError, match=r"'small' has no weight rules 'their'\n  did you mean 'theirs'"):
        export_state(model, spec, "their")
    with pytest.raises(metablock.MetablockError, match=r"the shape of a.weight \+\+ b.weight does not follow .*\n  .*--like"):
        export_state(model, spec, "theirs")
    with pytest.raises(
        metablock.MetablockError, match=r"stem.wide.weight \(4, 6\) does not fill a.weight \(3, 6\) \+\+ b.weight"
    ):
        export_state(model, spec, "theirs", {"a.weight": (3, 6), "b.weight": (3, 6)})
    with pytest.raises(metablock.MetablockError, match=r"x.weight \(8, 6\): ours fill 24 of its 48"):
        export_state(model, spec, "half")
    with pytest.raises(metablock.MetablockError, match=r"no rule of 'none' says where stem\.wide.weight goes"):
        export_state(model, spec, "none")
    state = export_state(model, spec, "theirs", {"a.weight": (1, 6), "b.weight": (3, 6)})
    assert state["last.weight"].shape == (5, 4, 1, 1)
    assert torch.equal(torch.cat([state["a.weight"], state["b.weight"]]), model.get_parameter("stem.wide.weight"))
    with pytest.raises(metablock.MetablockError, match="origin is damaged"):
        read_layout("{", "theirs")
    again = metablock.build(spec, weights=state, seed=3)
    assert read_layout(layout(again.loaded), "theirs")["b.weight"] == (3, 6)
    assert read_layout(layout(again.loaded), "half") == {}


# Other channels, other classes


def first(model: nn.Module) -> Tensor:
    return model.get_parameter("stem.conv.weight").detach()


@pytest.mark.parametrize(("channels", "wanted"), [(1, "sum"), (4, "repeat"), (6, "repeat"), (2, "repeat")])
def test_other_channels_as_timm_adapts_them(channels: int, wanted: str) -> None:
    spec = load_text(RULES)
    state = metablock.build(spec).state_dict()
    model = metablock.build(spec, input=(channels, 8, 8), weights=state, seed=1)
    adapted = require("timm").models.adapt_input_conv(channels, state["stem.conv.weight"])
    torch.testing.assert_close(first(model), adapted)
    assert model.loaded.adapted == [f"stem.conv.weight (3 channels there, {channels} here)"]
    assert "1 adapted: stem.conv.weight (3 channels there" in str(model.loaded)


def test_other_classes() -> None:
    spec = load_text(RULES)
    state = metablock.build(spec).state_dict()
    model, fresh = (metablock.build(spec, classes=7, weights=w, seed=1) for w in (state, None))
    assert torch.equal(model.get_parameter("head.linear.weight"), fresh.get_parameter("head.linear.weight"))
    assert torch.equal(first(model), state["stem.conv.weight"])
    assert [line.split(" ", 1)[1] for line in model.loaded.adapted] == ["(5 classes there, 7 here: as initialised)"] * 2
    with pytest.raises(
        metablock.MetablockError, match=r"of another shape: stem\.wide.weight"
    ):  # a body of another width is no class
        metablock.build(spec, classes=7, edits=["wide = linear(7)"], weights=state)


def test_what_weights_bring_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what they do not is what a build without them would have drawn, for whatever device and precision."""
    options = {"edits": ["depth = 2", "dim = 64"], "input": "3x64x64"}
    state = metablock.build("beit", variant="official_ft_base", classes=5, **options).state_dict()
    plain = metablock.build("beit", variant="official_ft_base", classes=7, dtype=torch.float64, seed=3, **options)
    calls: list[torch.Size] = []  # of linear layers: the operators' own small tables are drawn when they are made
    add = DrawQueue.add

    def noted(queue: DrawQueue, weight: torch.Tensor, *how: Any) -> None:
        calls.extend([weight.shape] * (weight.dim() > 1 and min(weight.shape) > 1))
        add(queue, weight, *how)

    monkeypatch.setattr(DrawQueue, "add", noted)
    model = metablock.build("beit", variant="official_ft_base", classes=7, dtype=torch.float64, seed=3, weights=state, **options)
    assert sorted(model.loaded.initial) == ["head.linear.bias", "head.linear.weight"]
    assert calls == [(7, 64)]
    for name, value in model.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name] if name in model.loaded.initial else state[name].double()), name
    calls.clear()
    metablock.build("beit", variant="official_ft_base", classes=5, weights=state, **options)
    assert not calls


@pytest.mark.parametrize(("name", "variant"), [pair for pair in SMALLEST if pair[0] in ("swin", "vit", "resnet", "mlp_mixer")])
def test_a_fine_tuned_network(name: str, variant: str) -> None:
    """What people do first: other classes, other channels, another size."""
    spec = SPECS[name]
    state = metablock.build(spec, variant=variant).state_dict()
    size = 256 if name in ("vit", "resnet") else 224
    model = metablock.build(spec, variant=variant, classes=10, input=(1, size, size), weights=state)
    assert model.loaded.complete
    assert sum("classes" in line for line in model.loaded.adapted) == 2
    assert sum("channels" in line for line in model.loaded.adapted) == 1
    assert bool(model.loaded.resized) == (name == "vit")
