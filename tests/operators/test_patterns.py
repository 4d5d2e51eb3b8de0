"""Modules copied from patterns are what their classes make: attributes, constants, and the numbers that are drawn."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaves import CASES, Case, find, label
from metablock.backend import patterns
from metablock.backend.builder import on_meta
from metablock.backend.draws import DrawQueue, Draws
from metablock.backend.patterns import Pattern, UnlikeError, draw_defaults, instantiate, pattern_of
from metablock.lowering.ir import ModuleNode

# One of each class and arguments: what a class makes of an extent more or less is no other pattern.
SOME = list({(case.name, str(case.arguments)): case for case in CASES}.values())


def node_of(case: Case) -> ModuleNode:
    file, _, attribute = case.name.partition(".")
    names = [p.name for p in inspect.signature(find(case.name)).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    context = {name: getattr(case.features[0], name) for name in names}
    return ModuleNode(file, f"metablock.operators.{file}", attribute, context, case.arguments)


def contents(module: nn.Module, tensors: bool = True) -> dict[str, Any]:
    """All that a module and those below it hold."""
    result: dict[str, Any] = {}
    for path, part in module.named_modules():
        for key, value in part.__dict__.items():
            if key in ("_parameters", "_buffers"):
                result |= {f"{path}.{key}.{name}": None if t is None else described(t, tensors) for name, t in value.items()}
            elif key == "_modules":
                result[f"{path}.{key}"] = [(name, type(child)) for name, child in value.items()]
            else:
                result[f"{path}.{key}"] = type(value), value
    return result


def described(tensor: Tensor, values: bool) -> tuple[Any, ...]:
    about = type(tensor), tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad, tensor.is_contiguous()
    return (*about, tensor.tolist()) if values else about


@pytest.mark.parametrize("case", SOME, ids=label)
def test_a_copy_is_what_the_class_makes(case: Case) -> None:
    node = node_of(case)
    with Draws().seeded(5):
        expected = instantiate(node)
    with torch.device("meta"):
        there = instantiate(node)
    assert contents(on_meta(node), tensors=False) == contents(there, tensors=False)
    pattern = pattern_of(node)
    if pattern is None:
        return
    one, other = pattern.copy(), pattern.copy()
    for copy in (one, other):
        if pattern.drawn and pattern.repeats:
            queue = DrawQueue()
            draw_defaults(copy, Draws(), queue, 5)
            queue.run()
    assert contents(one, pattern.repeats or not pattern.drawn) == contents(expected, pattern.repeats or not pattern.drawn)
    assert list(one.__dict__) == list(expected.__dict__) or sorted(one.__dict__) == sorted(expected.__dict__)
    for (key, value), (_, again) in zip(held(one), held(other), strict=True):
        assert value is not again, f"two copies share {key}"


def held(module: nn.Module) -> list[tuple[str, object]]:
    """What may change: tensors and containers."""
    found: list[tuple[str, object]] = [*module.named_parameters(), *module.named_buffers()]
    for part in module.modules():
        found += [(key, value) for key, value in part.__dict__.items() if isinstance(value, (dict, list, set))]
    return found


def test_most_operators_have_a_pattern() -> None:
    """Those without: torch keeps lists of their weights, they compute with what they draw, or draw what is no parameter."""
    without = {case.name for case in SOME if pattern_of(node_of(case)) is None}
    assert without <= {"recurrent.Lstm", "recurrent.Gru", "random_features.RandomFeatures"}


class Holds(nn.Module):
    def __init__(self, what: Any):
        super().__init__()
        self.what = what


def test_what_copies_could_not_share_has_no_pattern() -> None:
    for what in ([nn.Linear(1, 1)], {"a": [1]}, object(), [[]], torch.zeros(1).tolist, OrderedDict(a=torch.zeros(1)), slice(1)):
        with pytest.raises(UnlikeError):
            Pattern(Holds(what), set())
    with pytest.raises(UnlikeError):
        Pattern(Holds(nn.Parameter(torch.zeros(3, 2).T)), set())
    copy = Pattern(Holds({"a": (1, None)}), set()).copy()
    assert copy.what == {"a": (1, None)}


def test_the_default_dtype_is_the_copys() -> None:
    node = ModuleNode("linear", "metablock.operators.linear", "Linear", {"c": 2}, {"out": 3})
    assert pattern_of(node).copy().weight.dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert pattern_of(node).copy().weight.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_patterns_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_PATTERNS", {})
    monkeypatch.setattr(patterns, "MAX_PATTERNS", 10)
    for out in range(1, 40):
        pattern_of(ModuleNode("linear", "metablock.operators.linear", "Linear", {"c": 2}, {"out": out}))
        assert len(patterns._PATTERNS) <= 10
    monkeypatch.setattr(patterns, "MAX_PARAMETERS", 100)
    large = ModuleNode("linear", "metablock.operators.linear", "Linear", {"c": 20}, {"out": 20})
    assert pattern_of(large) is None and on_meta(large).weight.is_meta


def test_a_custom_operator_has_none() -> None:
    assert pattern_of(ModuleNode("linear", "torch.nn", "Linear", {}, {"in_features": 2, "out_features": 2})) is None
