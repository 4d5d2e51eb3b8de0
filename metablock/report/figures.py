"""The figures of a network that `facts` may state: parameters by the operators' rules, multiply-accumulates by torch."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from .. import cache
from ..backend.limits import ModuleTensors
from ..front import Front
from ..lowering.ir import module_nodes
from ..lowering.record import UnwritableError, dumps

KIND = "macs"  # of entries in the cache


def parameters(network: Front) -> tuple[int, int]:
    """The numbers of trainable and of frozen parameters, without torch unless an operator is a custom one.

    Raises:
        MetablockError: a module that no machine can hold.

    >>> from metablock.front import front
    >>> parameters(front("resnet18"))
    (11689512, 0)
    """
    known, counts = ModuleTensors(), [0, 0]
    for _, node in module_nodes(network.ir):
        if not node.constant:
            counts[not node.trainable] += sum(known.of(node, node.span).parameters.values())
    return counts[0], counts[1]


def macs(network: Front) -> dict[str, int]:
    """Multiply-accumulates of one example by the paths of modules, counted on ``meta`` now or by an earlier process.

    Raises:
        MetablockError: a network that cannot be built or run.

    >>> from metablock.front import front
    >>> macs(front("resnet18"))[""]
    1814073344
    """
    key = _key(network)
    known = _counts(None if key is None else cache.load(KIND, key))
    if known is not None:
        return known
    from ..api import assemble, example
    from ..backend import costs

    model = assemble(*network, device="meta")
    result = costs.macs(model, *example(model))
    if key is not None:
        cache.store(KIND, key, json.dumps(result).encode())
    return result


def _counts(data: bytes | None) -> dict[str, int] | None:
    """The counts in an entry of the cache; None if it has none."""
    try:
        counts = None if data is None else json.loads(data)
    except ValueError:
        return None
    whole = isinstance(counts, dict) and all(type(count) is int for count in counts.values())
    return counts if whole else None


def _key(network: Front) -> str | None:
    """What the counts of a network are known by; None for one with a custom operator, whose code may change."""
    code, torch = cache.fingerprint(), importlib.util.find_spec("torch")
    if code is None or cache.folder() is None or torch is None or torch.origin is None:
        return None
    if not all(node.module.startswith("metablock.") for _, node in module_nodes(network.ir)):
        return None
    try:
        return cache.digest(code, Path(torch.origin).with_name("version.py").read_bytes(), dumps(*network))
    except (OSError, UnwritableError):
        return None
