"""The ATen operators that a network needs: what a port to another device asks first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..api import assemble, example
from .models import OpRow
from .options import BuildOptions, lowered


class _Recorder(TorchDispatchMode):
    """Counts every operator by the shapes of its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, Counter[tuple[str, str]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = " ".join(_shapes([*args, *(kwargs or {}).values()]))
        self.calls.setdefault(str(func), Counter())[inputs, " ".join(_shapes([result]))] += 1
        return result


def operators_of(options: BuildOptions, batch: int = 1) -> list[OpRow]:
    """The ATen operators that inference calls in eager mode. The network runs on ``meta``: nothing is allocated.

    Args:
        options: the network.
        batch: the number of examples in the pass.

    Returns:
        A row for each operator, the most frequent first.

    Raises:
        MetablockError: a network that cannot be built.

    >>> row = operators_of(BuildOptions("resnet18"))[0]
    >>> row.operator, row.calls
    ('aten.convolution.default', 20)
    """
    model = assemble(*lowered(options), device="meta").eval()
    recorder = _Recorder()
    inputs = example(model, batch)
    with torch.no_grad(), recorder:
        model(*inputs)
    rows = [
        OpRow(
            operator=name,
            calls=sum(calls.values()),
            shapes=tuple(f"{before} -> {after}" for before, after in calls),
            counts=tuple(calls.values()),
        )
        for name, calls in recorder.calls.items()
    ]
    return sorted(rows, key=lambda row: (-row.calls, row.operator))


def _shapes(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Tensor):
            yield "x".join(map(str, value.shape)) or "scalar"
        elif isinstance(value, (list, tuple)):
            yield from _shapes(value)
