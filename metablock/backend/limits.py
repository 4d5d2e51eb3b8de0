"""Caps on the size of a network, checked before anything is allocated: a spec may come from a stranger.

Lowering caps widths, repeats and the number of operators. Here the largest value is capped, then parameters and
multiply-accumulates. Parameters are counted module by module, by the operators' rules, without torch. Multiply-accumulates are
counted, on ``meta``, only where a bound on them is near the cap: for an ordinary network the count would be wasted time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import NamedTuple

from ..errors import Problem, Span, SpecError, error
from ..language.registry import rule_of
from ..lowering.ir import ModuleCall, ModuleList, ModuleNode, Subgraph, Value, flat_values
from ..operators.rules import TensorShapes, accepted
from .per_network import PerNetwork

MAX_PARAMETERS = 20_000_000_000
MAX_MACS = 100_000_000_000_000
# Of one tensor, in float32: torch counts bytes in 64 bits.
MAX_BYTES, BYTES = 2**63 - 1, 4
# Of one value, for a batch of one.
MAX_ELEMENTS = 2**30
# Below both, multiply-accumulates outside of weights (of attention) cannot be near their cap.
_ORDINARY_ELEMENTS, _ORDINARY_OPERATORS = 2**26, 5000
_HINT = "--large (in Python: large=True) lifts the limit"


class TensorSizes(NamedTuple):
    """The tensors of a module's state dict: the sizes of its parameters by name, and the names of the others."""

    parameters: Mapping[str, int]
    others: tuple[str, ...]


class ModuleTensors:
    """The tensors of modules, those of equal modules once. Only custom operators need torch, which describes them on ``meta``.

    >>> from metablock.front import front
    >>> ModuleTensors().of(front("resnet18").ir.children["head"].children["linear"])
    TensorSizes(parameters={'weight': 512000, 'bias': 1000}, others=())
    """

    def __init__(self) -> None:
        self._known: dict[str, TensorSizes] = {}

    def of(self, node: ModuleNode, span: Span | None = None) -> TensorSizes:
        """Those of one module. Raises SpecError, at ``span``, for one that torch cannot describe."""
        key = f"{node.module}.{node.attribute} {node.context} {node.args}"
        if key not in self._known:
            rule = getattr(rule_of(node.module, node.attribute), "tensors", None)
            sizes = _asked_of_torch(node) if rule is None else _by_rule(rule, node)
            if sizes is None or any(not 0 <= size <= MAX_BYTES // BYTES for size in sizes.parameters.values()):
                raise error(f"`{node.text}` is larger than any machine's memory", span, "lower its sizes")
            self._known[key] = sizes
        return self._known[key]


def _by_rule(rule: Callable[..., TensorShapes], node: ModuleNode) -> TensorSizes:
    """The tensors of one of our operators."""
    tensors = rule(**accepted(rule, {**node.context, **node.args}))
    return TensorSizes({name: prod(size) for name, size in tensors.parameters.items()}, tensors.buffers)


def _asked_of_torch(node: ModuleNode) -> TensorSizes | None:
    """The tensors of a custom operator, from its module on ``meta``; None where their elements, or their bytes, overflow."""
    from .builder import on_meta

    try:
        module = on_meta(node)
        sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
        return TensorSizes(sizes, tuple(name for name in module.state_dict() if name not in sizes))
    except (RuntimeError, OverflowError, MemoryError):
        return None


def check_size(root: Subgraph, known: ModuleTensors | None = None) -> None:
    """Raises SpecError if a network is larger than the caps, at its largest part, unless its IR lifts them (``unlimited``).

    ``known`` is a cache, for several networks of one file.

    >>> from metablock.front import front
    >>> check_size(front("resnet18").ir)
    """
    if not root.unlimited:
        problem = _size_problem(root) if known is None else _problem(root, known)
        if problem is not None:
            raise SpecError([problem])


def _problem(root: Subgraph, known: ModuleTensors) -> Problem | None:
    """What is too large about a network. Raises SpecError for a module that no machine can hold."""
    largest, operators, parameters, work, heaviest = 0, 0, 0, 0, (0, root.span)
    counted: set[int] = set()  # a shared module is called several times, and has its weights once
    for subgraph, span in _subgraphs(root, root.span):
        for step in subgraph.all_steps:
            outputs = list(flat_values(step.output))
            size = max((prod(value.feature.size()) for value in outputs), default=0)
            largest = max(largest, size)
            if size > MAX_ELEMENTS:
                message = f"a value inside the network has {size:,} elements for one input; at most {MAX_ELEMENTS:,}"
                return Problem(message, span, _HINT)
            module = (root if step.root else subgraph).child(step.child) if isinstance(step, ModuleCall) else None
            if not isinstance(module, ModuleNode):
                continue
            place = module.span or span
            count = sum(known.of(module, place).parameters.values())
            operators += 1
            parameters += 0 if id(module) in counted else count
            counted.add(id(module))
            work += count * _places([*step.inputs, *outputs])
            heaviest = max(heaviest, (count, place), key=lambda pair: pair[0])
    if parameters > MAX_PARAMETERS:
        return Problem(f"the network has {parameters:,} parameters; at most {MAX_PARAMETERS:,}", heaviest[1], _HINT)
    if work > MAX_MACS or largest > _ORDINARY_ELEMENTS or operators > _ORDINARY_OPERATORS:
        exact = _macs(root)
        if exact > MAX_MACS:
            return Problem(f"the network takes {exact:,} multiply-accumulates; at most {MAX_MACS:,}", heaviest[1], _HINT)
    return None


_size_problem = PerNetwork(lambda root: _problem(root, ModuleTensors()))


def _macs(root: Subgraph) -> int:
    """The multiply-accumulates of a network for one example, counted on ``meta``."""
    import torch

    from .builder import build
    from .costs import macs
    from .random_input import random_input

    meta = torch.device("meta")
    inputs = [random_input(value.feature, 1, meta, torch.float32) for value in flat_values(root.inputs)]
    return macs(build(root, device=meta), *inputs).get("", 0)


def _places(values: list[Value]) -> int:
    """At most so many times a module uses each of its weights for one input: the largest number of places that enter or leave."""
    return max((value.feature.windows * prod(value.feature.grid) + value.feature.prefix for value in values), default=1)


def _subgraphs(part: Subgraph | ModuleList, span: Span | None) -> Iterator[tuple[Subgraph, Span | None]]:
    """The subgraphs of a network, each with the innermost place that is known."""
    if isinstance(part, Subgraph):
        span = part.span or span
        yield part, span
    for child in part.children.values():
        if not isinstance(child, ModuleNode):
            yield from _subgraphs(child, span)
