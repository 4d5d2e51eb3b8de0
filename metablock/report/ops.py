"""The ATen operators that a network needs: what someone who brings it to another device asks first."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..api import example
from .build import BuildOptions, chosen, on_meta
from .models import OpRow


class _Recorder(TorchDispatchMode):
    """Notes every operator with the shapes that go in and come out."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, Counter[tuple[str, str]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        entered = " ".join(_shapes([*args, *(kwargs or {}).values()]))
        self.calls.setdefault(str(func), Counter())[entered, " ".join(_shapes([result]))] += 1
        return result


def operators_of(choice: BuildOptions, batch: int = 1) -> list[OpRow]:
    """A row for each ATen operator that inference calls in eager mode, those called most first.

    Nothing is allocated: the network runs on ``meta``. Raises MetablockError for a network that cannot be built.
    """
    spec, level = chosen(choice)
    model = on_meta(spec, level).eval()
    recorder = _Recorder()
    inputs = example(model, batch)
    with torch.no_grad(), recorder:
        model(*inputs)
    rows = [
        OpRow(
            operator=name,
            calls=sum(calls.values()),
            shapes=tuple(f"{entered} -> {left}" for entered, left in calls),
            counts=tuple(calls.values()),
        )
        for name, calls in recorder.calls.items()
    ]
    return sorted(rows, key=lambda row: (-row.calls, row.operator))


def _shapes(values: Any) -> list[str]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append("x".join(map(str, value.shape)) or "scalar")
        elif isinstance(value, (list, tuple)):
            found += _shapes(value)
    return found
