"""Caps on what a spec from a stranger may ask for, checked before anything is allocated.

Widths, repeats and the number of operators are capped while the network is traced. Parameters and multiply-accumulates are
counted on ``meta``, but only where widths or extents are so large that a cap could be near: for an ordinary network that would be
work for nothing.
"""

from __future__ import annotations

from math import prod

import torch

from ..errors import MetablockError
from ..lowering.ir import Subgraph, flat_values, module_nodes, subgraphs
from .builder import build
from .costs import macs, parameters

MAX_PARAMETERS = 20_000_000_000
MAX_MACS = 100_000_000_000_000
MAX_ELEMENTS = 2**30
_LIFT = "--large (in Python: large=True) lifts the limit"


def check_size(root: Subgraph) -> None:
    """Raises MetablockError where a network is larger than the caps, unless they are lifted for it."""
    if root.unlimited:
        return
    features = [wire.feature for _, level in subgraphs(root) for step in level.steps for wire in flat_values(step.output)]
    largest = max((prod(feature.size()) for feature in features), default=0)
    if largest > MAX_ELEMENTS:
        size = f"a value inside the network has {largest:,} elements for one input; at most {MAX_ELEMENTS:,}"
        raise MetablockError(f"{size}\n  {_LIFT}")
    wide = max((feature.c for feature in features), default=0)
    if wide <= 8192 and largest <= 2**26 and sum(1 for _ in module_nodes(root)) <= 5000:
        return
    model = build(root, device=torch.device("meta"))
    count = sum(parameters(model))
    if count > MAX_PARAMETERS:
        raise MetablockError(f"the network has {count:,} parameters; at most {MAX_PARAMETERS:,}\n  {_LIFT}")
    inputs = [torch.empty(wire.feature.size(1), device="meta") for wire in flat_values(root.inputs)]
    work = macs(model, *inputs).get("", 0)
    if work > MAX_MACS:
        raise MetablockError(f"the network takes {work:,} multiply-accumulates; at most {MAX_MACS:,}\n  {_LIFT}")
