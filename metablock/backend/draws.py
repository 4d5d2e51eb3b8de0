"""Random numbers and constants of modules that are being made: whose generator is used, and in which precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Draws(TorchDispatchMode):
    """Within the block, this thread draws from a generator of its own: torch's global one is neither read nor changed.

    Whatever draws without naming a generator does, plug-ins included. The numbers are those that the global generator would give
    after ``torch.manual_seed(seed)``. Tensors off the CPU are drawn as usual; on ``meta`` nothing is drawn.

    Attributes:
        count: how many draws there were since the last seed.

    >>> with Draws().seeded(0):
    ...     first = torch.rand(3)
    >>> torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(0)))
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator()
        self.count = 0

    def seeded(self, seed: int) -> Draws:
        """Begins anew with this seed, and returns itself."""
        self.generator.manual_seed(seed)
        self.count = 0
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            seeded = _SEEDED[func]
        except KeyError:
            seeded = _SEEDED[func] = _seeded(func)
        if seeded is None:
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = kwargs or {}
        if not _on_cpu(args, kwargs):
            return func(*args, **kwargs)
        return self.draw(func, seeded, args, kwargs)

    def draw(self, func: Any, seeded: Any, args: Any, kwargs: Any) -> Any:
        """What an operator draws; ``seeded`` is its overload that takes a generator."""
        self.count += 1
        if kwargs.get("generator") is None:
            kwargs = {**kwargs, "generator": self.generator}
        return seeded(*args, **kwargs)


# By operator: its overload that takes a generator; None for one that draws nothing.
_SEEDED: dict[Any, Any] = {}


def _seeded(func: Any) -> Any:
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return None
    names = [argument.name for argument in func._schema.arguments]
    if "generator" in names:
        return func
    overloads = (getattr(func._overloadpacket, name) for name in func._overloadpacket.overloads())
    wanted = sorted([*names, "generator"])
    return next((o for o in overloads if sorted(argument.name for argument in o._schema.arguments) == wanted), None)


def _on_cpu(args: Any, kwargs: Any) -> bool:
    """Whether an operator works on the CPU: by its ``device``, by its first tensor, or by default."""
    device = kwargs.get("device")
    if device is None:
        device = next((value.device for value in args if isinstance(value, Tensor)), None)
    return device is None or torch.device(device).type == "cpu"


class Doubles(TorchFunctionMode):
    """Within the block, this thread makes tensors float64 where they would have torch's default dtype.

    >>> with Doubles():
    ...     torch.zeros(2).dtype, torch.zeros(2, dtype=torch.int64).dtype
    (torch.float64, torch.int64)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _MAKERS and kwargs.get("dtype") is None and result.dtype == torch.get_default_dtype():
            return func(*args, **{**kwargs, "dtype": torch.float64})
        return result


_MAKERS = {
    torch.arange, torch.as_tensor, torch.empty, torch.eye, torch.full, torch.linspace, torch.logspace, torch.ones, torch.tensor,
    torch.zeros,
}  # fmt: skip


def unsaved(module: nn.Module) -> dict[str, Tensor]:
    """The floating-point buffers that a state dict does not hold, by name: constants, tables, rates."""
    buffers = {
        f"{path}.{name}" if path else name: part._buffers[name]
        for path, part in module.named_modules()
        for name in part._non_persistent_buffers_set
    }
    return {name: buffer for name, buffer in buffers.items() if buffer is not None and buffer.is_floating_point()}


def keep_constants(module: nn.Module, again: nn.Module) -> None:
    """Gives a module of float64 the constants of another one.

    Args:
        module: made in float32, then converted.
        again: the same module, made within :class:`Doubles` from another seed: what differs by more than rounding was drawn.

    >>> from metablock.operators.times import Times
    >>> times = Times(factor=0.1).double()
    >>> with Doubles():
    ...     again = Times(factor=0.1)
    >>> keep_constants(times, again)
    >>> times.factor.item()
    0.1
    """
    others = unsaved(again)
    for name, buffer in unsaved(module).items():
        other = others[name]
        alike = other.dtype == buffer.dtype == torch.float64 and other.shape == buffer.shape
        if alike and torch.allclose(other, buffer, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True):
            buffer.copy_(other)


# Error that a few operations in float32 leave.
_ROUNDING = 1e-5
