"""Every operator, every argument that is a number, numbers that make no sense: a message at its place, or a network that computes."""

from __future__ import annotations

import pytest
import torch

from metablock.api import build
from metablock.errors import SpecError
from metablock.front import check
from metablock.language.load import load_text
from metablock.language.registry import OPERATORS, Param

# A call of each operator that has numbers; ARGUMENT stands for the argument under test. What enters is a map of 8 channels on 8x8.
CALLS = {
    "adaptive_avg_pool": "adaptive_avg_pool(ARGUMENT)",
    "adaptive_max_pool": "adaptive_max_pool(ARGUMENT)",
    "agent_bias": "attention(2, over=avg_pool(4, stride=4), pos=agent_bias(ARGUMENT))",
    "attention": "attention(2, ARGUMENT)",
    "axial": "attention(2, rotary=axial(ARGUMENT))",
    "binary_cross_entropy": 'binary_cross_entropy(sigmoid, "all", ARGUMENT)',
    "cascade": "cascade(conv(c), ARGUMENT)",
    "chunk": "chunk(ARGUMENT) >> take(0)",
    "continuous_bias": "attention(2, pos=continuous_bias(linear(2), ARGUMENT))",
    "cross_entropy": 'cross_entropy(softmax, "all", ARGUMENT)',
    "deconv": "deconv(8, 2, 2, ARGUMENT)",
    "deform_conv": "deform_conv(8, 3, ARGUMENT)",
    "deformable": "attention(2)",
    "distill": 'distill(softmax, "all", ARGUMENT)',
    "ema": "(shared f = linear(c) return (id >> f) + ema(f, ARGUMENT))",
    "focal": 'focal(sigmoid, "all", ARGUMENT)',
    "info_nce": "global_pool >> info_nce(id, ARGUMENT)",
    "join": "join(id, learned(1), ARGUMENT)",
    "knob": "id * knob(ARGUMENT)",
    "learned": "id + (learned(1, ARGUMENT) >> linear(c))",
    "inner": "inner(outer(id, id), id, ARGUMENT)",
    "moving_bias": "attention(2, pos=moving_bias(coordinates, ARGUMENT))",
    "near": "attention(2, over=near(ARGUMENT))",
    "ones": "join(id, ones(1, ARGUMENT))",
    "outer": "outer(id, id, ARGUMENT)",
    "pair_bias": "attention(2, pos=pair_bias(ARGUMENT))",
    "position": "id + position(ARGUMENT)",
    "recurrence": "recurrence(sigmoid, id, ARGUMENT)",
    "relative_bias": "attention(2, pos=relative_bias(ARGUMENT))",
    "relative_keys": "attention(2, pos=relative_keys(ARGUMENT))",
    "routed": "attention(2, over=routed(2, ARGUMENT))",
    "scan": "scan(id, ARGUMENT)",
    "split": "split(conv(c), ARGUMENT)",
    "take": "chunk(2) >> take(ARGUMENT)",
    "zeros": "join(id, zeros(1, ARGUMENT))",
}
# What an operator needs besides the argument under test.
NEEDS = {"out": "8", "kernel": "3", "stride": "2", "size": "4", "n": "2", "heads": "2", "rate": "0.5", "groups": "2", "value": "1",
         "factor": "2", "parts": "2", "a": "relu", "top": "2", "experts": "[id, pool(3), dw(3)]", "i": "0", "start": "1",
         "bases": "2"}  # fmt: skip
NUMBERS = ["-1", "0", "0.5", "3", "-0.5", "1e300", "1e-300", str(2**31), str(2**63), str(2**70), "1e400"]
NUMERIC = {"int", "float", "list[int]", "list[float]", "Lazy"}


def call(name: str, param: Param, value: str) -> str:
    others = [
        p
        for p in OPERATORS[name].schema.params
        if p.required and p.name != param.name and f"{p.name}=" not in CALLS.get(name, "")
    ]
    argument = f"{param.name}={value}"
    if name in CALLS:
        text = CALLS[name].replace("ARGUMENT", argument)
        for first in ("(2, ", "(8, 2, 2, ", "(8, 3, "):  # the argument under test replaces a positional one
            position = [p.name for p in OPERATORS[name].schema.params].index(param.name)
            given = first.strip("(, ").split(", ")
            if text.startswith(f"{name}{first}") and position < len(given):
                names = [p.name for p in OPERATORS[name].schema.params]
                rest = ", ".join(f"{names[at]}={number}" for at, number in enumerate(given) if at != position)
                return f"{name}({', '.join(filter(None, [rest, argument]))})"
        return text
    needed = ", ".join(f"{p.name}={'1' if name == 'dilated' and p.name == 'rate' else NEEDS[p.name]}" for p in others)
    return f"{name}({', '.join(filter(None, [needed, argument]))})"


CASES = [
    (name, param)
    for name, operator in OPERATORS.items()
    if operator.module.startswith("metablock.") and name != "hungarian"  # which reads objects; tests/operators/test_hungarian.py
    for param in operator.schema.params
    if NUMERIC & set(param.types)
]


def outputs(tree: object) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [x for part in (tree.values() if isinstance(tree, dict) else tree) for x in outputs(part)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "param"), CASES, ids=[f"{name}-{param.name}" for name, param in CASES])
def test_numbers(name: str, param: Param) -> None:
    wrong = []
    for value in NUMBERS:
        text = f"name: n\ninput: image(8, 8)\nmodel: '{call(name, param, value)}'\n"
        try:
            problems = check(load_text(text))
        except SpecError as refused:
            problems = list(refused.problems)
        if problems:
            if any(problem.span is None for problem in problems):
                wrong.append((value, "no place", [problem.message for problem in problems]))
            continue
        try:
            model = build(load_text(text))
            with torch.no_grad():
                for mode in (True, False):
                    results = outputs(model.train(mode)(torch.rand(2, 8, 8, 8)))
                    if not all(result.isfinite().all() for result in results):
                        wrong.append((value, "not finite"))
        except SpecError as refused:
            if any(problem.span is None for problem in refused.problems):
                wrong.append((value, "no place", str(refused)))
        except Exception as problem:  # any other exception is what the test is for
            wrong.append((value, type(problem).__name__, str(problem)[:90]))
    assert not wrong, call(name, param, "?")


@pytest.mark.parametrize(
    "bias",
    [
        "agent_bias(8, std=0)",
        "moving_bias(coordinates, std=0)",
        "pair_bias(0)",
        "relative_bias(0)",
        "relative_keys(std=0)",
        "relative_bias(0), over=near(3)",
    ],
)
def test_tables_of_zeros(bias: str) -> None:
    """A deviation of 0 is a start without a bias, of every table and of that of neighbours."""
    model = build(load_text(f"name: n\ninput: image(8, 8)\nmodel: attention(2, pos={bias})\n"))
    assert not any(parameter.any() for name, parameter in model.named_parameters() if ".pos." in name)
