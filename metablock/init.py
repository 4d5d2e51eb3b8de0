"""Initialisation by the rules that a spec names: ``init: {linear: trunc_normal(0.02), head.linear.bias: torch}``.

A selector is a dotted path of slot names, ending in a slot, an operator or a parameter; what stands between may be left out.
Of the rules that
fit a parameter the one with the most parts wins, of equals the last. A rule for a module sets its weights; its bias becomes 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import expr as e
from .builder import Initialise, path_seed
from .errors import error, suggest
from .graph import Leaf
from .printer import show

Rule = Callable[..., object]


def _fan(weight: Tensor, mode: str) -> int:
    receptive = weight[0, 0].numel() if weight.dim() > 2 else 1
    return (weight.shape[0] if mode == "fan_out" else weight.shape[1]) * receptive


def _normal(weight: Tensor, std: float | str = 1.0, mean: float = 0.0) -> None:
    """``normal(0.02)``, or ``normal("fan_out")``: variance 2 / (outputs * taps), groups divided out."""
    if isinstance(std, str):
        std = math.sqrt(2.0 / _fan(weight, std))
    nn.init.normal_(weight, mean, std)


def _softmax_rand(weight: Tensor) -> None:
    """Rows that are the softmax of uniform numbers (RandFormer)."""
    with torch.no_grad():
        weight.copy_(torch.rand_like(weight).softmax(-1))


RULES: Mapping[str, Rule] = {
    "constant": lambda w, value: nn.init.constant_(w, value),
    "kaiming_normal": lambda w, mode="fan_in": nn.init.kaiming_normal_(w, mode=mode, nonlinearity="relu"),
    "kaiming_uniform": lambda w, a=0.0: nn.init.kaiming_uniform_(w, a=a),
    "lecun_normal": lambda w: nn.init.trunc_normal_(w, std=math.sqrt(1.0 / _fan(w, "fan_in")) / 0.87962566103423978, a=-2, b=2),
    "normal": _normal,
    "ones": nn.init.ones_,
    "softmax_rand": _softmax_rand,
    "trunc_normal": lambda w, std=1.0: nn.init.trunc_normal_(w, std=std, a=-2, b=2),
    "uniform": lambda w, bound=1.0: nn.init.uniform_(w, -bound, bound),
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "zeros": nn.init.zeros_,
}


def initialiser(rules: Mapping[str, e.Node], seed: int) -> Initialise:
    """What the builder calls for each leaf. Raises SpecError for a rule that does not exist."""
    chosen = [(selector.split("."), _rule(node)) for selector, node in rules.items()]

    def initialise(path: str, leaf: Leaf, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            best: tuple[int, Rule | None, bool] | None = None
            for selector, rule in chosen:
                fit = _fits(selector, path, leaf.operator, name)
                if fit is not None and (best is None or len(selector) >= best[0]):
                    best = (len(selector), rule, fit)
            if best is None or best[1] is None:
                continue
            torch.random.default_generator.manual_seed(path_seed(seed, f"{path}.{name}"))
            with torch.no_grad():
                if name.rpartition(".")[2] == "bias" and not best[2]:
                    parameter.zero_()
                elif parameter.dim() > 1 or best[2]:
                    best[1](parameter)

    return initialise


def used(selector: str, path: str, operator: str, names: list[str]) -> bool:
    """Whether a selector fits any parameter of a leaf."""
    return any(_fits(selector.split("."), path, operator, name) is not None for name in names)


def _fits(selector: list[str], path: str, operator: str, parameter: str) -> bool | None:
    """None: no; True: the parameter itself is named; False: its module is."""
    trail = [re.sub(r"(?<=[a-z_])\d+$", "", part) for part in path.split(".")]
    *above, last = selector
    own = parameter.split(".")
    if last in (parameter, own[-1]) and _inside(above, [*trail, operator, *own[:-1]]):
        return True
    places = {trail[-1], path.split(".")[-1], operator}
    if last in places and _inside(above, trail):
        return False
    if last in trail and len(trail) > 1 and _inside(above, trail[: trail.index(last)]):
        return False
    return None


def _inside(parts: list[str], trail: list[str]) -> bool:
    rest = iter(trail)
    return all(part in rest for part in parts)


def _rule(node: e.Node) -> Rule | None:
    """``torch`` (None) keeps the operator's own initialisation."""
    name = node.func if isinstance(node, e.Call) else node
    if not isinstance(name, e.Name):
        raise error(f"'{show(node)}' is no initialisation", node.span, "write `trunc_normal(0.02)`, `zeros`, `torch` ...")
    if name.id == "torch":
        return None
    if name.id not in RULES:
        raise error(
            f"unknown initialisation '{name.id}'", name.span, suggest(name.id, [*RULES, "torch"], f"known: {', '.join(RULES)}")
        )
    rule = RULES[name.id]
    if not isinstance(node, e.Call):
        return rule
    given: list[Any] = []
    for argument in node.args:
        value = argument.value
        if isinstance(value, e.Name):  # fan_in, fan_out
            given.append(value.id)
        elif isinstance(value, (e.Number, e.String)):
            given.append(value.value)
        elif isinstance(value, e.Negative) and isinstance(value.value, e.Number):
            given.append(-value.value.value)
        else:
            raise error("an initialisation takes numbers", argument.span, "write the number itself")
    return lambda weight: rule(weight, *given)
