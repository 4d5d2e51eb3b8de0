"""The rules that stand apart from the operators: they import no torch, and say of tensors what torch's modules have."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from typing import Any

import pytest
import torch

from leaves import CASES, find
from metablock.language.registry import rule_of
from metablock.operators import rules
from metablock.operators.rules import LeafRule, accepted
from metablock.shape import Feature

MODULES = sorted(module.name for module in pkgutil.iter_modules(rules.__path__))
RULES = {
    f"{module}.{name.removesuffix('Rule')}": cls
    for module in MODULES
    for name, cls in vars(importlib.import_module(f"metablock.operators.rules.{module}")).items()
    if inspect.isclass(cls) and cls.__module__.endswith(f".{module}") and issubclass(cls, LeafRule)
}

BIASES = {"grid": (3, 4), "heads": 2}
# What `CASES` do not have: the operator, and what its class is given.
MORE: list[tuple[str, dict[str, Any]]] = [
    ("agent_bias.AgentBias", {**BIASES, "prefix": 0, "agents": 5}),
    ("agent_bias.AgentBias", {**BIASES, "prefix": 1, "agents": 5, "table": 3, "side": "queries"}),
    ("attend_deformable.AttendDeformable", {"c": 6, "heads": 2, "points": 3, "levels": 2, "placed": True}),
    ("embedding.Embedding", {"c": 11, "padding_id": 0, "out": 4}),
    ("frozen_batch_norm.FrozenBatchNorm", {"c": 6, "rank": 2}),
    ("frozen_batch_norm.FrozenBatchNorm", {"c": 6, "rank": 2, "affine": False}),
    ("grn.GRN", {"c": 6, "rank": 2, "bias": False}),
    ("group_norm.GroupNorm", {"c": 6, "groups": 2, "bias": False}),
    ("layer_norm.LayerNorm", {"c": 6, "bias": False}),
    ("linear.Linear", {"c": 6, "out": 4, "bias": False}),
    ("linear.TurnedLinear", {"c": 6, "out": 4}),
    ("losses.Centre", {"c": 6}),
    ("mixture_conv.MixtureConv", {"c": 6, "rank": 2, "out": 4, "kernel": [2, 3], "groups": 2, "bias": True}),
    ("moving_bias.MovingBias", BIASES),
    ("near_bias.NearBias", {**BIASES, "size": [3, 3]}),
    ("near_bias.NearBias", {**BIASES, "size": [3, 3], "clamp": True}),
    ("pair_bias.PairBias", {"heads": 2, "queries": 3, "keys": 5}),
    *(
        (f"recurrent.{name}", {"c": 6, "out": 4, "bidirectional": both, "bias": bias})
        for name in ("Lstm", "Gru")
        for both in (False, True)
        for bias in (False, True)
    ),
    ("relative_bias.RelativeBias", BIASES),
    ("relative_bias.RelativeBias", {**BIASES, "prefix": 2, "mirror": True}),
    ("relative_bias.RelativeBias", {**BIASES, "keys": [7, 8], "stride": [2, 2]}),
    ("relative_bias.RelativeBias", {**BIASES, "keys": [7, 8], "stride": [3, 3], "mirror": True}),
    ("relative_keys.RelativeKeys", {**BIASES, "c": 6, "prefix": 1, "keys": [3, 2]}),
    ("relative_keys.RelativeKeys", {**BIASES, "c": 6, "prefix": 0, "keys": [3, 2], "joint": True}),
    ("rms_norm.RmsNorm", {"c": 6}),
    ("rms_norm.RmsNorm", {"c": 6, "affine": False}),
    ("route.NoisyGates", {"experts": 3, "width": 6, "top": 1, "noise": 0.1}),
    ("unused.Unused", {"n": 3}),
    ("unused.Unused", {"n": 3, "out": 4}),
]


def of(name: str, feature: Feature, arguments: dict[str, Any]) -> dict[str, Any]:
    """All that the class of an operator is given for this input."""
    signature = inspect.signature(find(name)).parameters.values()
    return {p.name: getattr(feature, p.name) for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD} | arguments


TRIED = [(case.name, of(case.name, case.features[0], case.arguments)) for case in CASES] + MORE


@pytest.mark.parametrize("name", sorted({name for name, _ in TRIED}))
def test_tensors_are_those_of_the_module(name: str) -> None:
    rule = rule_of(*f"metablock.operators.{name}".rsplit(".", 1))
    defaults = {p.name: p.default for p in inspect.signature(find(name)).parameters.values() if p.default is not p.empty}
    for _, values in [tried for tried in TRIED if tried[0] == name]:
        module = find(name)(**values)
        tensors = rule.tensors(**accepted(rule.tensors, defaults | values))
        sizes = {key: tuple(parameter.shape) for key, parameter in module.named_parameters()}
        assert list(tensors.parameters.items()) == list(sizes.items()), "in torch's order"
        assert set(tensors.buffers) == module.state_dict().keys() - sizes.keys()


def test_every_rule_of_tensors_is_tried() -> None:
    assert {name for name, rule in RULES.items() if rule.tensors is not LeafRule.tensors} <= {name for name, _ in TRIED}


def test_rules_import_no_torch() -> None:
    code = f"import importlib, sys\nfor name in {MODULES}: importlib.import_module(f'metablock.operators.rules.{{name}}')\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_class_without_a_rule_apart_is_its_own() -> None:
    """So is the class of a custom operator; `tests/test_plugins.py` builds networks of such."""
    assert rule_of("torch.nn", "ReLU") is torch.nn.ReLU
