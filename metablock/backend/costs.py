"""Parameters and multiply-accumulates: the module itself runs, normally on ``meta``, and its operators are counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple, NoReturn

import torch
from torch import nn
from torch.utils.flop_counter import flop_registry

from ..errors import MetablockError
from .modes import evaluation
from .without_dynamo import EagerMode, compiles

# Names of operators that may be matrix products: one that torch's registry cannot count is an error, never a silent zero.
_PRODUCT = re.compile(r"(^|_)(mm|bmm|addmm|baddbmm|matmul|linear|convolution|conv\d?d?|attention|einsum|lstm|gru|rnn)(_|$)")

_aten = torch.ops.aten
# Multiply-accumulates of products that torch's registry does not have, from the arguments.
_PRODUCTS: dict[Any, Callable[..., int]] = {
    _aten.dot: lambda a, b: a.numel(),
    _aten.vdot: lambda a, b: a.numel(),
    _aten.mv: lambda matrix, vector: matrix.numel(),
    _aten.addmv: lambda x, matrix, vector, **_: matrix.numel(),
    _aten.addbmm: lambda x, a, b, **_: a.numel() * b.shape[-1],
}
# The operators of torch itself; one of another library is counted by torch's registry or not at all.
_OWN = {"aten", "prim", "prims"}

# Cache: operator and described arguments -> described result and multiply-accumulates. Without it, counting would spend most of
# its time in torch's shape functions, which are written in Python.
_KNOWN: dict[Any, tuple[Any, int]] = {}
_MAX_KNOWN = 20_000


class _Shape(NamedTuple):
    """The description of a tensor on ``meta``."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Counter(EagerMode):
    """Adds up multiply-accumulates (half of the floating-point operations in torch's registry) for every running module.

    Attributes:
        running: the paths of the modules that run, the innermost last.
        shares: for how many of the samples what runs counts, of each of them.
        macs: the counts by path; fractions inside of experts.
        total: the count of all operators, each in full.
    """

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.shares: list[Fraction] = []
        self.macs: Counter[str] = Counter()
        self.total = 0

    def enter(self, name: str, module: nn.Module) -> None:
        """A module begins to run."""
        share = getattr(module, "routed_share", 1)
        self.running.append(name)
        self.shares.append(self.shares[-1] * share if self.shares else Fraction(share))

    def leave(self) -> None:
        """The innermost module ends."""
        self.running.pop()
        self.shares.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            shared = (func, torch.get_default_dtype())
            key = None if func._schema.is_mutable else (*shared, _describe(args), _describe(kwargs or {}))
        except TypeError:
            key = None
        if key in _KNOWN:
            described, count = _KNOWN[key]
            self.add(count)
            return _empty(described)
        before = self.total
        result = self.call(func, args, kwargs or {})
        with suppress(TypeError):
            if key is not None and len(_KNOWN) < _MAX_KNOWN:
                _KNOWN[key] = _describe(result), self.total - before
        return result

    def add(self, count: int) -> None:
        self.total += count
        share = self.shares[-1] if self.shares else Fraction(1)
        counted = count if share == 1 else count * share
        for name in {"", *self.running} if count else ():
            self.macs[name] += counted  # type: ignore[assignment]

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs an operator and counts it: itself if the registry knows it, otherwise what it decomposes into."""
        packet = func._overloadpacket
        if packet is _aten._trilinear:  # it decomposes into elementwise work
            self.refuse("a bilinear layer cannot be counted")
        if packet not in flop_registry and packet not in _PRODUCTS and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if packet in flop_registry:
            self.add(flop_registry[packet](*args, **kwargs, out_val=result) // 2)
        elif packet in _PRODUCTS:
            self.add(_PRODUCTS[packet](*args, **kwargs))
        elif _PRODUCT.search(packet.__name__):
            self.refuse(f"{packet.__name__} is a matrix product that cannot be counted")
        elif func.namespace not in _OWN:
            self.refuse(f"{func.namespace}.{packet.__name__} is an operator of another library that cannot be counted")
        return result

    def refuse(self, reason: str) -> NoReturn:
        place = f"'{self.running[-1]}': " if self.running and self.running[-1] else ""
        raise MetablockError(place + reason, "register a formula: torch.utils.flop_counter.register_flop_formula")


def _describe(value: Any) -> Any:
    """Hashable description of a value (of a tensor: shape, stride, dtype), used as a cache key.

    Raises TypeError for a tensor with data, and for types that are not compared by value.
    """
    if isinstance(value, torch.Tensor):
        if not value.is_meta:
            raise TypeError
        return _Shape(tuple(value.shape), value.stride(), value.dtype)
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_describe(item) for item in value)
    if isinstance(value, dict):
        return dict, tuple((key, _describe(item)) for key, item in value.items())
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device, torch.memory_format, torch.layout)):
        return type(value), value  # 1, 1.0 and True are equal, but not the same argument
    raise TypeError


def _empty(description: Any) -> Any:
    """A value that fits a description, on ``meta``."""
    if isinstance(description, _Shape):
        return torch.empty_strided(description.size, description.stride, dtype=description.dtype, device="meta")
    kind, value = description
    return kind(_empty(item) for item in value) if kind in (list, tuple) else value


class _UntracedCounter(_Counter):
    """Counts where a part of the network may be compiled: dynamo does not see how."""

    @torch._disable_dynamo
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return super().__torch_dispatch__(func, types, args, kwargs)


def macs(model: nn.Module, *inputs: torch.Tensor) -> dict[str, int]:
    """Multiply-accumulates of convolutions and matrix products, by module path; ``""`` is the whole model.

    Runs the model once, in evaluation mode; pass the model and its inputs on ``meta`` to allocate nothing. Norms, activations,
    pooling and other elementwise work are not counted. A module that is called twice counts twice, an expert of ``route`` by the
    share of the samples that have it.

    Args:
        model: any module.
        inputs: what it is called with; the batch multiplies the counts.

    Raises:
        MetablockError: a matrix product, or an operator of another library, that torch's registry of floating-point operations
            cannot count.

    >>> macs(nn.Linear(3, 5), torch.zeros(2, 3))
    {'': 30}
    """
    counter = _UntracedCounter() if compiles() else _Counter()
    hooks, repeats = [], _Repeats(counter)
    for name, module in model.named_modules():
        if getattr(module, "key", "") and not getattr(module, "_links", None):
            hooks.append(repeats.wrap(name, module))
        if isinstance(module, (nn.LSTM, nn.GRU)):
            hooks.append(_Wrapped(module, partial(_recurrent, counter, module, module.forward)))
        if hasattr(module, "products"):
            hooks.append(_Wrapped(module, partial(_summed, counter, module, module.forward)))
        hooks.append(module.register_forward_pre_hook(lambda module, _a, name=name: counter.enter(name, module)))
        hooks.append(module.register_forward_hook(lambda _m, _a, _o: counter.leave()))
    try:
        with evaluation(model), torch.no_grad(), counter:
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: int(count) for name, count in counter.macs.items()}


def _recurrent(counter: _Counter, module: nn.RNNBase, forward: Any, x: Any, states: Any = None) -> Any:
    """The result of a recurrent layer, counted by formula: each position is multiplied with every weight once."""
    if not isinstance(x, torch.Tensor) or not x.is_meta or x.dim() != 3 or module.proj_size or states is not None:
        return forward(x, states)
    products = sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
    counter.add(products * x.shape[0] * x.shape[1])
    batch, directions = x.shape[0 if module.batch_first else 1], 2 if module.bidirectional else 1
    last = x.new_empty((directions * module.num_layers, batch, module.hidden_size))
    output = x.new_empty((*x.shape[:2], directions * module.hidden_size))
    return output, (last, last) if isinstance(module, nn.LSTM) else last


def _summed(counter: _Counter, module: Any, forward: Any, *inputs: Any) -> Any:
    """The result of a module that writes matrix products as sums, counted by its own formula."""
    counter.add(module.products(*inputs))
    return forward(*inputs)


class _Repeats:
    """Runs blocks that compute the same (one ``key``) on the same shapes only once, and counts every repeat."""

    def __init__(self, counter: _Counter) -> None:
        self.counter = counter
        # Key and input shapes -> result and the counts that the block added, by path below the block.
        self.known: dict[Any, tuple[Any, dict[str, int]]] = {}

    def wrap(self, name: str, module: nn.Module) -> _Wrapped:
        forward, key = module.forward, getattr(module, "key", "")

        def counted(*inputs: torch.Tensor) -> Any:
            if not all(isinstance(x, torch.Tensor) and x.is_meta for x in inputs):
                return forward(*inputs)
            call = (key, *((x.shape, x.stride(), x.dtype) for x in inputs))
            macs, below = self.counter.macs, f"{name}."
            if call not in self.known:
                before = macs.copy()
                result = forward(*inputs)
                added = {path: n - before[path] for path, n in macs.items() if path == name or path.startswith(below)}
                self.known[call] = result, {path[len(name) :]: n for path, n in added.items() if n}
                return result
            result, added = self.known[call]
            for path, n in added.items():
                for place in {"", *self.counter.running} if not path else {name + path}:
                    macs[place] += n
            return result

        return _Wrapped(module, counted)


class _Wrapped:
    """Replaces the ``forward`` of a module until :meth:`remove`."""

    def __init__(self, module: nn.Module, forward: Any) -> None:
        self.module = module
        module.__dict__["forward"] = forward

    def remove(self) -> None:
        del self.module.__dict__["forward"]


def parameters(module: nn.Module) -> tuple[int, int]:
    """The numbers of trainable and of frozen parameters; shared ones count once.

    >>> parameters(nn.Linear(3, 5))
    (20, 0)
    """
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return trainable, sum(p.numel() for p in module.parameters()) - trainable
