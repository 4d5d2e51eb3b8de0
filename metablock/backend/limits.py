"""Caps on the size of a network, checked before anything is allocated: a spec may come from a stranger.

Lowering caps widths, repeats and the number of operators. Here the largest value is capped, then parameters and
multiply-accumulates. Parameters are counted module by module on ``meta``, equal modules once. Multiply-accumulates are
counted only where a bound on them is near the cap: for an ordinary network the count would be wasted time.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch

from ..errors import Span, error
from ..lowering.ir import ModuleCall, ModuleList, ModuleNode, Subgraph, Value, flat_values
from .builder import build, on_meta
from .costs import macs

MAX_PARAMETERS = 20_000_000_000
MAX_MACS = 100_000_000_000_000
# Of one value, for a batch of one.
MAX_ELEMENTS = 2**30
# Below both, multiply-accumulates outside of weights (of attention) cannot be near their cap.
_ORDINARY_ELEMENTS, _ORDINARY_OPERATORS = 2**26, 5000
_HINT = "--large (in Python: large=True) lifts the limit"


def check_size(root: Subgraph) -> None:
    """Raises SpecError if a network is larger than the caps, at its largest part, unless its IR lifts them (``unlimited``).

    >>> from metablock.front import front
    >>> check_size(front("resnet18").ir)
    """
    if root.unlimited:
        return
    counts = _Counts()
    largest, operators, parameters, work, heaviest = 0, 0, 0, 0, (0, root.span)
    for subgraph, span in _subgraphs(root, root.span):
        for step in subgraph.all_steps:
            outputs = list(flat_values(step.output))
            size = max((prod(value.feature.size()) for value in outputs), default=0)
            largest = max(largest, size)
            if size > MAX_ELEMENTS:
                message = f"a value inside the network has {size:,} elements for one input; at most {MAX_ELEMENTS:,}"
                raise error(message, span, _HINT)
            module = subgraph.child(step.child) if isinstance(step, ModuleCall) and not step.root else None
            if not isinstance(module, ModuleNode):
                continue
            place = module.span or span
            count = counts.of(module, place)
            operators += 1
            parameters += 0 if isinstance(step, ModuleCall) and step.shared else count
            work += count * _places([*step.inputs, *outputs])
            heaviest = max(heaviest, (count, place), key=lambda pair: pair[0])
    if parameters > MAX_PARAMETERS:
        raise error(f"the network has {parameters:,} parameters; at most {MAX_PARAMETERS:,}", heaviest[1], _HINT)
    if work > MAX_MACS or largest > _ORDINARY_ELEMENTS or operators > _ORDINARY_OPERATORS:
        inputs = [torch.empty(value.feature.size(1), device="meta") for value in flat_values(root.inputs)]
        exact = macs(build(root, device=torch.device("meta")), *inputs).get("", 0)
        if exact > MAX_MACS:
            raise error(f"the network takes {exact:,} multiply-accumulates; at most {MAX_MACS:,}", heaviest[1], _HINT)


class _Counts:
    """The parameters of modules, those of equal ones counted once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, node: ModuleNode, span: Span | None) -> int:
        """The number of parameters of a module. Raises SpecError for one that torch cannot describe."""
        key = f"{node.module}.{node.attribute} {node.context} {node.args}"
        if key not in self._known:
            try:
                self._known[key] = sum(p.numel() for p in on_meta(node).parameters())
            except (RuntimeError, OverflowError, MemoryError):  # torch: the number of elements, or their bytes, overflow
                raise error(f"`{node.text}` is larger than any machine's memory", span, "lower its sizes") from None
        return self._known[key]


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
