"""Caps on the size of a network, checked before anything is allocated: a spec may come from a stranger.

Lowering caps widths, repeats and the number of operators. Here the largest value is capped, then parameters and
multiply-accumulates. The latter two are counted on ``meta``, and only where widths, extents or the number of operators are so
large that a cap may be near: for an ordinary network the count would be wasted time.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from ..errors import MetablockError
from ..lowering.ir import Subgraph, flat_values, module_nodes, subgraphs
from ..shape import Feature
from .builder import build
from .costs import macs, parameters

MAX_PARAMETERS = 20_000_000_000
MAX_MACS = 100_000_000_000_000
# Of one value, for a batch of one.
MAX_ELEMENTS = 2**30
# Below all three, no cap on parameters or multiply-accumulates can be near.
_ORDINARY_WIDTH, _ORDINARY_ELEMENTS, _ORDINARY_OPERATORS = 8192, 2**26, 5000
_HINT = "--large (in Python: large=True) lifts the limit"


def check_size(root: Subgraph) -> None:
    """Raises MetablockError if a network is larger than the caps, unless its IR lifts them (``unlimited``).

    >>> from metablock.front import front
    >>> check_size(front("resnet18").ir)
    """
    if root.unlimited:
        return
    features = [value.feature for _, subgraph in subgraphs(root) for step in subgraph.steps for value in flat_values(step.output)]
    largest = max((prod(feature.size()) for feature in features), default=0)
    if largest > MAX_ELEMENTS:
        message = f"a value inside the network has {largest:,} elements for one input; at most {MAX_ELEMENTS:,}"
        raise MetablockError(message, _HINT)
    if not _ordinary(root, features, largest):
        _check_counts(root)


def _ordinary(root: Subgraph, features: Sequence[Feature], largest: int) -> bool:
    widest = max((feature.c for feature in features), default=0)
    operators = sum(1 for _ in module_nodes(root))
    return widest <= _ORDINARY_WIDTH and largest <= _ORDINARY_ELEMENTS and operators <= _ORDINARY_OPERATORS


def _check_counts(root: Subgraph) -> None:
    """Builds the network on ``meta`` and compares its parameters and multiply-accumulates with the caps."""
    model = build(root, device=torch.device("meta"))
    count = sum(parameters(model))
    if count > MAX_PARAMETERS:
        raise MetablockError(f"the network has {count:,} parameters; at most {MAX_PARAMETERS:,}", _HINT)
    inputs = [torch.empty(value.feature.size(1), device="meta") for value in flat_values(root.inputs)]
    work = macs(model, *inputs).get("", 0)
    if work > MAX_MACS:
        raise MetablockError(f"the network takes {work:,} multiply-accumulates; at most {MAX_MACS:,}", _HINT)
