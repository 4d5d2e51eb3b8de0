"""Parameters and multiply-accumulates, counted by running the real module on ``meta``."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

# Operators that look like a matrix product by name; one that the registry cannot count is an error, never a silent zero.
_PRODUCT = re.compile(r"(^|_)(mm|bmm|addmm|baddbmm|matmul|linear|convolution|conv\d?d?|attention|einsum|addmv|mv|dot)(_|$)")


class _Counter(TorchDispatchMode):
    """Adds up multiply-accumulates (half the registry's floating-point operations) for each module that is open."""

    def __init__(self, tracker: ModuleTracker):
        super().__init__()
        self.tracker = tracker
        self.macs: dict[str, int] = defaultdict(int)
        self.operators: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        name = packet.__name__
        self.operators[name] += 1
        if packet in flop_registry:
            macs = flop_registry[packet](*args, **kwargs, out_val=result) // 2
            for module in set(self.tracker.parents):
                self.macs[module] += macs
        elif _PRODUCT.search(name):
            raise NotImplementedError(f"{name} is a matrix product that cannot be counted")
        return result


def macs(model: nn.Module, *inputs: torch.Tensor) -> dict[str, int]:
    """Multiply-accumulates of convolutions and matrix products by module path; ``""`` is the whole model.

    The model is run as it is: give it, and the inputs, on ``meta`` to allocate nothing. Norms, activations, pooling and
    other elementwise work
    are not counted.
    """
    tracker = ModuleTracker()
    counter = _Counter(tracker)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), tracker, counter:
            model(*inputs)
    finally:
        model.train(training)
    root = type(model).__name__
    result = {name.removeprefix(root).removeprefix("."): count for name, count in counter.macs.items() if name != "Global"}
    return {**result, "": counter.macs["Global"]}


def parameters(module: nn.Module) -> tuple[int, int]:
    """Trainable and frozen parameters, shared ones counted once."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return trainable, sum(p.numel() for p in module.parameters()) - trainable
