"""Every paper of the catalogue: exact counts, the official code's recorded outputs, one training step."""

from __future__ import annotations

import re

import pytest
import torch
from cases import SPECS, VARIANTS

import metablock
from metablock import costs
from metablock.api import example
from oracles import BAR, compare, golden, golden_inputs, goldens, recipe

# Recordings of a model in another state than inference's: Dynamic_conv2d as it is constructed, its temperature not yet lowered.
RECORDED_WITH = {"dynamic_conv": ["temperature = 34"]}


def variant_of(recorded: str) -> str:
    """Our name for a recorded variant: lower case, other characters as underscores."""
    return re.sub(r"[^a-z0-9]", "_", recorded.removeprefix("official/").lower())


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_counts(name: str, variant: str) -> None:
    """Parameters to the digit, trainable ones apart, and MACs as on the official code."""
    facts = SPECS[name].facts.of(variant)
    model = metablock.build(SPECS[name], variant=variant, device="meta")
    trainable, frozen = costs.parameters(model)
    assert trainable + frozen == int(facts["params"])
    assert trainable == int(facts.get("trainable", facts["params"]))
    assert costs.macs(model, *[x.to("meta") for x in example(model)])[""] == int(facts["macs"])


@pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name, variant in VARIANTS if SPECS[name].facts.of(variant).get("deployed", "-") != "-"]
)
def test_deployed_counts(name: str, variant: str) -> None:
    """Parameters of the form that re-parameterisation gives, to the digit."""
    model = metablock.reparameterize(metablock.build(SPECS[name], variant=variant, device="meta").eval())
    assert sum(p.numel() for p in model.parameters()) == int(SPECS[name].facts.of(variant)["deployed"])


@pytest.mark.parametrize("path", [name for name in goldens() if name.split("__")[0] in SPECS])
def test_recorded_outputs(path) -> None:
    """The official code's answer under weights made by the recipe, through the spec's rules for official names."""
    recorded = golden(path)
    spec = SPECS[recorded["slug"]]
    dtype = getattr(torch, recorded["dtype"])
    state = recipe(recorded["keys"], recorded["gain"], dtype)
    edits = RECORDED_WITH.get(recorded["slug"], ())
    variant = variant_of(recorded["variant"])
    if recorded["kept"]:  # frozen tables, in the order of the network
        fresh = metablock.build(spec, variant=variant, edits=edits, dtype=dtype)
        frozen = [parameter.detach() for parameter in fresh.parameters() if not parameter.requires_grad]
        state |= dict(zip(recorded["kept"], frozen, strict=True))
    if variant.endswith("_deploy"):  # of the form that re-parameterisation gives
        model = metablock.build(spec, variant=variant.removesuffix("_deploy"), dtype=dtype).eval()
        model = metablock.reparameterize(model)
        metablock.load_weights(model, state, spec)
    else:
        model = metablock.build(spec, variant=variant, edits=edits, weights=state, dtype=dtype).eval()
    assert sum(p.numel() for p in model.parameters()) == recorded["params"]
    with torch.no_grad():
        outputs = model(*golden_inputs(recorded))
    assert compare(outputs, recorded) < BAR[recorded["dtype"]]
