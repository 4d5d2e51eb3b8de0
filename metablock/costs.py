"""Parameters and multiply-accumulates, counted by running the real module on ``meta``."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

# Operators that look like a matrix product by name; one that the registry cannot count is an error, never a silent zero.
_PRODUCT = re.compile(r"(^|_)(mm|bmm|addmm|baddbmm|matmul|linear|convolution|conv\d?d?|attention|einsum|addmv|mv|dot)(_|$)")


class _Counter(TorchDispatchMode):
    """Adds up multiply-accumulates (half the registry's floating-point operations) for each module that is running."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.macs: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if packet in flop_registry:
            count = flop_registry[packet](*args, **kwargs, out_val=result) // 2
            for name in {"", *self.running}:
                self.macs[name] += count
        elif _PRODUCT.search(packet.__name__):
            raise NotImplementedError(f"{packet.__name__} is a matrix product that cannot be counted")
        return result


def macs(model: nn.Module, *inputs: torch.Tensor) -> dict[str, int]:
    """Multiply-accumulates of convolutions and matrix products by module path; ``""`` is the whole model.

    The model is run as it is, in evaluation mode: give it, and the inputs, on ``meta`` to allocate nothing. Norms, activations,
    pooling and other elementwise work are not counted. A module that is used twice counts twice.
    """
    counter = _Counter()
    hooks, once = [], _Once(counter)
    for name, module in model.named_modules():
        if getattr(module, "key", "") and not getattr(module, "links", None):
            hooks.append(once.wrap(name, module))
        hooks.append(module.register_forward_pre_hook(lambda _m, _a, name=name: counter.running.append(name)))
        hooks.append(module.register_forward_hook(lambda _m, _a, _o: _leave(counter)))
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), counter:
            model(*inputs)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return dict(counter.macs)


class _Once:
    """Blocks that compute the same on the same shapes (one ``key``) are run once, and counted as often as they come."""

    def __init__(self, counter: _Counter) -> None:
        self.counter = counter
        self.known: dict[Any, tuple[Any, dict[str, int]]] = {}

    def wrap(self, name: str, module: nn.Module) -> _Wrapped:
        forward, key = module.forward, getattr(module, "key", "")

        def counted(*inputs: torch.Tensor) -> Any:
            if not all(isinstance(x, torch.Tensor) and x.is_meta for x in inputs):
                return forward(*inputs)
            known = (key, *((x.shape, x.stride(), x.dtype) for x in inputs))
            macs, below = self.counter.macs, f"{name}."
            if known not in self.known:
                before = macs.copy()
                result = forward(*inputs)
                added = {path: n - before[path] for path, n in macs.items() if path == name or path.startswith(below)}
                self.known[known] = result, {path[len(name) :]: n for path, n in added.items() if n}
                return result
            result, added = self.known[known]
            for path, n in added.items():
                for name_ in {"", *self.counter.running} if not path else {name + path}:
                    macs[name_] += n
            return result

        return _Wrapped(module, counted)


class _Wrapped:
    """A module whose ``forward`` is another for a time."""

    def __init__(self, module: nn.Module, forward: Any) -> None:
        self.module = module
        module.__dict__["forward"] = forward

    def remove(self) -> None:
        del self.module.__dict__["forward"]


def _leave(counter: _Counter) -> None:
    counter.running.pop()


def parameters(module: nn.Module) -> tuple[int, int]:
    """Trainable and frozen parameters, shared ones counted once."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return trainable, sum(p.numel() for p in module.parameters()) - trainable
