"""Initialisation: applies the rules of a spec's `init:` (:mod:`metablock.language.init_rules`) to the weights.

A rule that selects a module sets its weights and zeroes its bias; one that selects a parameter sets that parameter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import error
from ..language import ast as e
from ..language.init_rules import KEEP, InitRule, bare_name, read_init_rules
from ..lowering.ir import ModuleNode, Subgraph, module_nodes
from ..operators.tables import GridTable
from ..operators.waves import sines
from .builder import path_seed
from .draws import DrawQueue, truncated_normal_

Rule = Callable[..., object]
_BIASES = {"bias", "bias_ih", "bias_hh"}


def _fan(weight: Tensor, mode: str) -> int:
    """Inputs or outputs of a weight ``(out, in, *extents)``, times its extents."""
    receptive = weight[0, 0].numel() if weight.dim() > 2 else 1
    return (weight.shape[0] if mode == "fan_out" else weight.shape[1]) * receptive


def _normal(weight: Tensor, std: float | str = 1.0, mean: float = 0.0, *, groups: int = 1, generator: torch.Generator) -> None:
    """``normal(0.02)``: this standard deviation. ``normal("fan_out")``: variance 2 / (outputs * extents) within one group.

    ``normal("inputs")``: standard deviation 1 / inputs, extents left out (ShuffleNet).
    """
    if std == "inputs":
        std = 1 / weight.shape[1]
    elif isinstance(std, str):
        std = math.sqrt(2.0 / _fan(weight[: len(weight) // groups], std))
    nn.init.normal_(weight, mean, std, generator)


def _uniform(weight: Tensor, bound: float | str = 1.0, mean: float = 0.0, *, generator: torch.Generator) -> None:
    """``uniform(0.1)``: within this bound of the mean. ``uniform("fan_out")``: within 1 / sqrt(outputs * extents)."""
    if isinstance(bound, str):
        bound = 1 / math.sqrt(_fan(weight, bound))
    nn.init.uniform_(weight, mean - bound, mean + bound, generator)


def _xavier_uniform(weight: Tensor, gain: float = 1.0, view: str = "kernel", *, generator: torch.Generator) -> None:
    """Within ``gain * sqrt(6 / (inputs + outputs))``; ``view="matrix"``: a kernel is the linear map of a patch, each of whose
    inputs is one, but not each of its outputs (MAE, MoCo v3)."""
    nn.init.xavier_uniform_(weight.flatten(1) if view == "matrix" else weight, gain, generator)


def _lecun_normal(weight: Tensor, *, generator: torch.Generator) -> None:
    """Variance 1 / fan_in: a normal truncated at two of its standard deviations, as in flax and TensorFlow."""
    std = math.sqrt(1.0 / _fan(weight, "fan_in")) / 0.87962566103423978
    truncated_normal_(weight, std, -2 * std, 2 * std, generator)


def _constant(weight: Tensor, value: float, then: float | None = None, after: float = 0.0) -> None:
    """``constant(0.1)``: this number. ``constant(0, then=-2, after=2)``: another one behind the first two entries."""
    nn.init.constant_(weight, value)
    if then is not None:
        nn.init.constant_(weight[int(after) :], then)


def _sinusoid(weight: Tensor) -> None:
    """A position table: sines (even channels j) and cosines (odd ones) of ``i / 10000 ** (2 * (j // 2) / c)`` in row i."""
    n, c = weight.shape[-2:]
    with torch.no_grad():
        weight.copy_(sines((n,), c, order="axis band wave").expand_as(weight))


def _sine(
    weight: Tensor,
    temperature: float = 10000.0,
    order: str = "axis wave band",
    start: float = 0.0,
    normalize: str = "false",
    reverse: str = "false",
    *,
    tables: Sequence[GridTable] = (),
) -> None:
    """``sine(...)``: what the operator `sine` computes, in the rows of a table of positions; zeros in those of prefix tokens."""
    grid, extra, last = tuple(weight.shape[-2:-1]), 0, False
    if tables:
        grid, extra, last = tables[0].grid, tables[0].extra, tables[0].last
    if (
        weight.dim() < 2
        or len(tables) > 1
        or any(t.offsets or t.mirrored or t.axis not in (-2, weight.dim() - 2) for t in tables)
    ):
        raise error("`sine` initialises a table of positions", hint="that of `position`, or `learned(n)`")
    c = weight.shape[-1]
    if c % (2 * len(grid)):
        raise error(f"`sine` of {c} channels", hint=f"a multiple of {2 * len(grid)}: a sine and a cosine an axis")
    rows = sines(grid, c, temperature, order, start, normalize == "true", reverse == "true").flatten(0, -2)
    rows = torch.cat([rows, rows.new_zeros(extra, c)] if last else [rows.new_zeros(extra, c), rows])
    with torch.no_grad():
        weight.copy_(rows.expand_as(weight))


def _rope_mixed(weight: Tensor, head_dim: float, theta: float = 10.0, *, generator: torch.Generator) -> None:
    """``rope_mixed(64)``: frequencies of rotary positions on two axes, ``(heads * head_dim / 2, 2)``.

    Axial frequencies ``theta ** (-4 k / head_dim)``, turned by one angle a head and spread over both axes (RoPE-ViT's code).
    """
    quarter, rest = divmod(head_dim, 4)
    if rest or weight.dim() != 2 or weight.shape[1] != 2 or weight.shape[0] % (2 * int(quarter)):
        shape = tuple(weight.shape)
        raise error(
            f"`rope_mixed({head_dim:g})` for weights of shape {shape}",
            hint="they are (heads * head_dim / 2, 2): `rotary=coordinates >> linear(c // 2, bias=false)` in two dimensions",
        )
    sizes = theta ** (-torch.arange(int(quarter), dtype=torch.float64) / quarter)
    turn = torch.rand(weight.shape[0] // (2 * len(sizes)), 1, generator=generator, dtype=torch.float64) * 2 * math.pi
    turns = torch.cat([turn.expand(-1, len(sizes)), turn.expand(-1, len(sizes)) + math.pi / 2], 1)
    sizes = sizes.repeat(2)
    with torch.no_grad():
        weight.copy_(torch.stack([(sizes * turns.sin()).flatten(), (sizes * turns.cos()).flatten()], 1))


def _softmax_rand(weight: Tensor, *, generator: torch.Generator) -> None:
    """The softmax of uniform numbers, row by row (RandFormer)."""
    with torch.no_grad():
        weight.copy_(weight.uniform_(generator=generator).softmax(-1))


def _bilinear(weight: Tensor) -> None:
    """A kernel that interpolates each channel linearly: of a transposed convolution whose kernel is twice its stride (FCN)."""
    out, inputs = weight.shape[:2]
    if weight.dim() < 3 or inputs not in (1, out):
        shape = tuple(weight.shape)
        raise error(f"`bilinear` for weights of shape {shape}", hint="they are a kernel: `deconv(c, 4, stride=2, groups=c)`")
    kernel = torch.ones((), dtype=torch.float64)
    for n in weight.shape[2:]:
        middle, reach = (n - 1) / 2, (n + 1) // 2
        kernel = kernel[..., None] * (1 - (torch.arange(n, dtype=torch.float64) - middle).abs() / reach)
    with torch.no_grad():
        weight.zero_()
        for channel in range(out):
            weight[channel, channel if inputs == out else 0] = kernel


CONSTANT: Mapping[str, Rule] = {
    "bilinear": _bilinear,
    "constant": _constant,
    "ones": nn.init.ones_,
    "sine": _sine,
    "sinusoid": _sinusoid,
    "zeros": nn.init.zeros_,
}
RANDOM: Mapping[str, Rule] = {
    "kaiming_normal": lambda w, mode="fan_in", **g: nn.init.kaiming_normal_(w, mode=mode, nonlinearity="relu", **g),
    "kaiming_uniform": lambda w, a=0.0, **g: nn.init.kaiming_uniform_(w, a=a, **g),
    "lecun_normal": _lecun_normal,
    "normal": _normal,
    "rope_mixed": _rope_mixed,
    "softmax_rand": _softmax_rand,
    "trunc_normal": lambda w, std=1.0, cut=2.0, *, generator: truncated_normal_(w, std, -cut, cut, generator),
    "uniform": _uniform,
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": _xavier_uniform,
}
RULES: Mapping[str, Rule] = {**CONSTANT, **RANDOM}


def initialiser(
    rules: Mapping[str, e.Node], seed: int, wanted: Container[str] | None = None, root: Subgraph | None = None
) -> Initialiser:
    """Returns what the builder sets the weights of every leaf with.

    Args:
        rules: of a spec's `init:`, from a selector to the call of a rule.
        seed: of the network; each parameter is drawn with a seed that depends on this one and its name.
        wanted: only these parameters are initialised (default: all); the set is read at call time.
        root: the network, whose blocks `layers` counts.

    Raises:
        SpecError: a rule that does not exist, or wrong arguments.

    >>> from metablock.front import front
    >>> from metablock.language.load import load_text
    >>> from metablock.backend.builder import build
    >>> spec, ir = front(load_text("name: net\\ninput: image(3, 8)\\nmodel: conv(4, 3)\\ninit: {conv: ones}"))
    >>> model = build(ir, initialise=initialiser(spec.init, seed=0))
    >>> model.conv.weight.mean().item(), model.conv.bias.mean().item()
    (1.0, 0.0)
    """
    return Initialiser(read_init_rules(rules), seed, wanted, root)


class Initialiser:
    """Sets the weights of leaves by rules (:func:`initialiser`)."""

    def __init__(self, rules: tuple[InitRule, ...], seed: int, wanted: Container[str] | None, root: Subgraph | None):
        self.rules, self.seed, self.wanted = rules, seed, wanted
        self.counts = any(rule.reads("layer", "layers") for rule in rules)
        paths = (".".join(path) for path, _ in module_nodes(root)) if self.counts and root is not None else ()
        self.layers = count_layers(paths)
        self.selectors = tuple(rule.selector for rule in rules)
        self.depths: dict[int, int] = {}  # blocks of each stage so far: stages are built one after the other

    def keeps(self, path: str, node: ModuleNode, module: nn.Module, names: Collection[str]) -> bool:
        """Whether one of these parameters of a module has its class's default value."""
        return any(
            (self.wanted is None or f"{path}.{name}" in self.wanted)
            and self._rule(path, node, name, module.get_parameter(name)) is None
            for name in names
        )

    def __call__(self, path: str, node: ModuleNode, module: nn.Module, queue: DrawQueue) -> None:
        """Sets the parameters of a module for which there is a rule; what is drawn may wait in the queue."""
        layer = _layer(path, self.depths) if self.counts else 0
        for name, parameter in module.named_parameters() if module._modules else module._parameters.items():
            if parameter is None or (self.wanted is not None and f"{path}.{name}" not in self.wanted):
                continue
            rule = self._rule(path, node, name, parameter)
            if rule is None:
                continue
            if rule is ZEROS:
                with torch.no_grad():
                    parameter.zero_()
                continue
            numbers = {"layer": layer, "layers": self.layers}
            if parameter.dim() > 1:
                numbers |= {mode: _fan(parameter, mode) for mode in ("fan_in", "fan_out")}
            arguments: dict[str, Any] = dict(rule.arguments(numbers))
            if rule.name in CONSTANT:
                arguments |= {"tables": _tables(module, name)} if rule.name == "sine" else {}
                with torch.no_grad():
                    CONSTANT[rule.name](parameter, **arguments)
                    _clear_padding(module, parameter)
            else:
                arguments |= {"groups": node.args.get("groups", 1)} if rule.name == "normal" else {}
                fill = partial(_draw, RANDOM[rule.name], parameter, arguments, module)
                queue.add(parameter, path_seed(self.seed, f"{path}.{name}"), fill)

    def _rule(self, path: str, node: ModuleNode, name: str, parameter: Tensor) -> InitRule | None:
        """The rule for a parameter; None where it keeps its default value."""
        best = _best(self.selectors, path, node.operator, name)
        if best is None or self.rules[best[0]].name == KEEP:
            return None
        number, direct = best
        if not direct and bare_name(name.rpartition(".")[2]) in _BIASES:
            return ZEROS
        return self.rules[number] if direct or parameter.dim() > 1 else None


# The rule for a bias whose module a rule selects.
ZEROS = InitRule((), "zeros")


def _draw(rule: Rule, parameter: Tensor, arguments: Mapping[str, Any], module: nn.Module, generator: torch.Generator) -> None:
    rule(parameter, **arguments, generator=generator)
    _clear_padding(module, parameter)


def _clear_padding(module: nn.Module, parameter: Tensor) -> None:
    """The row of the padding id is zeros again, where a table has one of zeros."""
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        parameter[module.padding_idx] = 0


def _tables(module: nn.Module, name: str) -> Sequence[GridTable]:
    """How a parameter of a module lies on its grids."""
    tables = getattr(module, "tables", None)
    return tables().get(name, ()) if callable(tables) else ()


@lru_cache(maxsize=100_000)
def _best(selectors: tuple[tuple[str, ...], ...], path: str, operator: str, parameter: str) -> tuple[int, bool] | None:
    """The number of the rule for a parameter: the longest selector wins, then the last. With it, whether it names the parameter
    itself."""
    best: tuple[int, bool] | None = None
    for number, selector in enumerate(selectors):
        direct = InitRule(selector, "").fits(path, operator, parameter)
        if direct is not None and (best is None or len(selector) >= len(selectors[best[0]])):
            best = number, direct
    return best


def count_layers(paths: Iterable[str]) -> int:
    """The number of blocks in the stages of a network with parts at these paths.

    >>> count_layers(["stages.0.blocks.0.norm", "stages.0.blocks.1.norm", "stages.1.blocks.0.norm", "head"])
    3
    """
    depths: dict[int, int] = {}
    for path in paths:
        _layer(path, depths)
    return sum(depths.values())


def _layer(path: str, depths: dict[int, int]) -> int:
    """The number of the block that a path leads into, counted from the network's first; 0 outside of the stages."""
    match = re.match(r"stages\.(\d+)(?:\.[a-z]\w*)?\.blocks\.(\d+)(?=\.|$)", path)
    if match is None:
        return 0
    stage, block = int(match[1]), int(match[2])
    depths[stage] = max(depths.get(stage, 0), block + 1)
    return sum(depths.get(before, 0) for before in range(stage)) + block
