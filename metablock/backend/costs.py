"""Parameters and multiply-accumulates, counted by running the real module on ``meta``."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

# Operators that look like a matrix product by name; one that the registry cannot count is an error, never a silent zero.
_PRODUCT = re.compile(r"(^|_)(mm|bmm|addmm|baddbmm|matmul|linear|convolution|conv\d?d?|attention|einsum|addmv|mv|dot)(_|$)")

# What operators make of values on ``meta``, and what they cost: asked of torch once for each shape. Most of the time that
# counting takes is that of its shape functions, which are written in Python.
_KNOWN: dict[Any, tuple[Any, int]] = {}
_MOST = 20_000


class _Shape(NamedTuple):
    """A tensor on ``meta``."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Counter(TorchDispatchMode):
    """Adds up multiply-accumulates (half the registry's floating-point operations) for each module that is running."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.macs: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            known = None if func._schema.is_mutable else (func, torch.get_default_dtype(), _shown(args), _shown(kwargs or {}))
        except TypeError:
            known = None
        if known in _KNOWN:
            made, count = _KNOWN[known]
            self.add(count)
            return _fresh(made)
        before = self.macs[""]
        result = self.called(func, args, kwargs or {})
        with suppress(TypeError):
            if known is not None and len(_KNOWN) < _MOST:
                _KNOWN[known] = _shown(result), self.macs[""] - before
        return result

    def add(self, count: int) -> None:
        for name in {"", *self.running} if count else ():
            self.macs[name] += count

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if packet in flop_registry:
            self.add(flop_registry[packet](*args, **kwargs, out_val=result) // 2)
        elif _PRODUCT.search(packet.__name__):
            raise NotImplementedError(f"{packet.__name__} is a matrix product that cannot be counted")
        return result


def _shown(value: Any) -> Any:
    """A value without its data, to be compared. Raises TypeError for what has data, or cannot be compared."""
    if isinstance(value, torch.Tensor):
        if not value.is_meta:
            raise TypeError
        return _Shape(tuple(value.shape), value.stride(), value.dtype)
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_shown(item) for item in value)
    if isinstance(value, dict):
        return dict, tuple((key, _shown(item)) for key, item in value.items())
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device, torch.memory_format, torch.layout)):
        return type(value), value  # 1, 1.0 and True are told apart
    raise TypeError


def _fresh(shown: Any) -> Any:
    """A value of this description."""
    if isinstance(shown, _Shape):
        return torch.empty_strided(shown.size, shown.stride, dtype=shown.dtype, device="meta")
    kind, value = shown
    return kind(_fresh(item) for item in value) if kind in (list, tuple) else value


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
                for place in {"", *self.counter.running} if not path else {name + path}:
                    macs[place] += n
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
