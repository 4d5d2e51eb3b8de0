"""Initialisation by the rules that a spec names: ``init: {linear: trunc_normal(0.02), head.linear.bias: torch}``.

A selector is a dotted path of slot names, ending in a slot, an operator or a parameter; what stands between may be left out.
Of the rules that
fit a parameter the one with the most parts wins, of equals the last. A rule for a module sets its weights; its bias becomes 0.
Numbers may be computed from ``layer``, the block's number in the network: ``trunc_normal(0.02 / (2 * (layer + 1)) ** 0.5)``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Container, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import error, suggest
from ..language import ast as e
from ..language.printer import show
from ..lowering.ir import ModuleNode
from .builder import Initialise, path_seed

Rule = Callable[..., object]
Ready = Callable[[Tensor, int, int], object]  # of a weight, of the groups of its convolution, of the number of its block


def _fan(weight: Tensor, mode: str) -> int:
    receptive = weight[0, 0].numel() if weight.dim() > 2 else 1
    return (weight.shape[0] if mode == "fan_out" else weight.shape[1]) * receptive


def _normal(weight: Tensor, std: float | str = 1.0, mean: float = 0.0, *, groups: int = 1) -> None:
    """``normal(0.02)``, or ``normal("fan_out")``: variance 2 / (outputs * taps), of one group of a convolution.

    ``normal("inputs")``: standard deviation 1 / inputs, whatever the taps (ShuffleNet).
    """
    if std == "inputs":
        std = 1 / weight.shape[1]
    elif isinstance(std, str):
        std = math.sqrt(2.0 / _fan(weight[: len(weight) // groups], std))
    nn.init.normal_(weight, mean, std)


def _uniform(weight: Tensor, bound: float | str = 1.0) -> None:
    """``uniform(0.1)``, or ``uniform("fan_out")``: within 1 / sqrt(outputs * taps)."""
    if isinstance(bound, str):
        bound = 1 / math.sqrt(_fan(weight, bound))
    nn.init.uniform_(weight, -bound, bound)


def _lecun_normal(weight: Tensor) -> None:
    """Variance 1 / fan_in, of a normal that is cut off at two of its standard deviations, as flax and TensorFlow have it."""
    std = math.sqrt(1.0 / _fan(weight, "fan_in")) / 0.87962566103423978
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def _sinusoid(weight: Tensor) -> None:
    """A table of positions: sines (even channels) and cosines (odd ones) of ``i / 10000 ** (2 * (j // 2) / c)``."""
    n, c = weight.shape[-2:]
    rates = 10000 ** (torch.arange(c, dtype=torch.float64) // 2 * 2 / c)
    angles = torch.arange(n, dtype=torch.float64)[:, None] / rates
    with torch.no_grad():
        weight.copy_(torch.where(torch.arange(c) % 2 == 0, angles.sin(), angles.cos()).expand_as(weight))


def _softmax_rand(weight: Tensor) -> None:
    """Rows that are the softmax of uniform numbers (RandFormer)."""
    with torch.no_grad():
        weight.copy_(torch.rand_like(weight).softmax(-1))


RULES: Mapping[str, Rule] = {
    "constant": lambda w, value: nn.init.constant_(w, value),
    "kaiming_normal": lambda w, mode="fan_in": nn.init.kaiming_normal_(w, mode=mode, nonlinearity="relu"),
    "kaiming_uniform": lambda w, a=0.0: nn.init.kaiming_uniform_(w, a=a),
    "lecun_normal": _lecun_normal,
    "normal": _normal,
    "ones": nn.init.ones_,
    "sinusoid": _sinusoid,
    "softmax_rand": _softmax_rand,
    "trunc_normal": lambda w, std=1.0, cut=2.0: nn.init.trunc_normal_(w, std=std, a=-cut, b=cut),
    "uniform": _uniform,
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "zeros": nn.init.zeros_,
}


def initialiser(rules: Mapping[str, e.Node], seed: int, wanted: Container[str] | None = None) -> Initialise:
    """What the builder calls for each leaf; of a network's parameters those are drawn that are ``wanted`` then, by default all.

    Raises SpecError for a rule that does not exist.
    """
    chosen = [(selector.split("."), _rule(node)) for selector, node in rules.items()]
    depths: dict[int, int] = {}  # of the stages so far: they are built one after the other

    def initialise(path: str, leaf: ModuleNode, module: nn.Module) -> None:
        layer = _layer(path, depths)
        for name, parameter in module.named_parameters():
            if wanted is not None and f"{path}.{name}" not in wanted:
                continue
            best: tuple[int, Ready | None, bool] | None = None
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
                    best[1](parameter, leaf.args.get("groups", 1), layer)

    return initialise


def _layer(path: str, depths: dict[int, int]) -> int:
    """The number of the block that this is in, counted from the network's first; 0 outside of the stages."""
    found = re.match(r"stages\.(\d+)(?:\.[a-z]\w*)?\.blocks\.(\d+)(?=\.|$)", path)
    if found is None:
        return 0
    stage, block = int(found[1]), int(found[2])
    depths[stage] = max(depths.get(stage, 0), block + 1)
    return sum(depths.get(before, 0) for before in range(stage)) + block


def used(selector: str, path: str, operator: str, names: list[str]) -> bool:
    """Whether a selector fits any parameter of a leaf."""
    return any(_fits(selector.split("."), path, operator, name) is not None for name in names)


def _fits(selector: list[str], path: str, operator: str, parameter: str) -> bool | None:
    """None: no; True: the parameter itself is named; False: its module is."""
    # A part is found by its name with the number that the text gave it, and without: `norm2`, `norm`.
    trail = [name for part in path.split(".") for name in dict.fromkeys((_bare(part), part))]
    *above, last = selector
    own = parameter.split(".")
    if last in (parameter, own[-1]) and _inside(above, [*trail, operator, *own[:-1]]):
        return True
    leaf = path.rpartition(".")[2]
    places = {leaf, _bare(leaf), operator}
    if last in places and _inside(above, trail):
        return False
    if last in trail and len(trail) > 1 and _inside(above, trail[: trail.index(last)]):
        return False
    return None


def _bare(name: str) -> str:
    return re.sub(r"(?<=[a-z_])\d+$", "", name)


def _inside(parts: list[str], trail: list[str]) -> bool:
    rest = iter(trail)
    return all(part in rest for part in parts)


def _rule(node: e.Node) -> Ready | None:
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
    given = [_argument(argument.value) for argument in (node.args if isinstance(node, e.Call) else ())]

    def ready(weight: Tensor, groups: int, layer: int) -> None:
        values = [value(layer) if callable(value) else value for value in given]
        rule(weight, *values, **({"groups": groups} if rule is _normal else {}))

    return ready


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
}  # fmt: skip


def _argument(node: e.Node) -> Any:
    """A number, a word, or what makes a number of ``layer``."""
    if isinstance(node, e.Name) and node.id != "layer":  # fan_in, fan_out
        return node.id
    if isinstance(node, e.String):
        return node.value
    _check(node)
    return (lambda layer: _number(node, layer)) if any(isinstance(part, e.Name) for part in e.walk(node)) else _number(node, 0)


def _check(node: e.Node) -> None:
    match node:
        case e.Number() | e.Name(id="layer"):
            return
        case e.Negative(value=value):
            _check(value)
        case e.Binary(op=op, left=left, right=right) if op in _ARITHMETIC:
            _check(left)
            _check(right)
        case _:
            raise error("an initialisation takes numbers", node.span, "write the number itself, or what it is by `layer`")


def _number(node: e.Node, layer: int) -> float:
    match node:
        case e.Number(value=value):
            return value
        case e.Negative(value=value):
            return -_number(value, layer)
        case e.Binary(op=op, left=left, right=right):
            try:
                return float(_ARITHMETIC[op](_number(left, layer), _number(right, layer)))
            except (ArithmeticError, TypeError):  # of a root of a negative number Python makes a complex one
                raise error(f"'{show(node)}' is no number in block {layer}", node.span, "`layer` counts from 0") from None
    return layer
