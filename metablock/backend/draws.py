"""Random numbers and constants of modules that are being made: whose generator is used, and in which precision."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .without_dynamo import EagerMode


class Draws(EagerMode):
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


class DrawQueue:
    """Draws of a network's weights. Large ones wait until :meth:`run`, and are made by as many threads as torch uses.

    Each draw has a generator of its own: neither their order nor the number of threads changes a number.

    >>> queue, weight = DrawQueue(), torch.empty(3)
    >>> queue.add(weight, 5, lambda generator: weight.uniform_(generator=generator))
    >>> queue.run()
    >>> torch.equal(weight, torch.rand(3, generator=torch.Generator().manual_seed(5)))
    True
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Callable[[torch.Generator], object]]] = []
        self._generator = torch.Generator()

    def add(self, weight: Tensor, seed: int, fill: Callable[[torch.Generator], object]) -> None:
        """Adds a draw: ``fill`` sets ``weight`` from a generator of this seed."""
        if weight.numel() < _LARGE:
            with torch.no_grad():
                fill(self._generator.manual_seed(seed))
        else:
            self._waiting.append((weight.numel(), seed, fill))

    def run(self) -> None:
        """Makes the draws that wait."""
        waiting, self._waiting = sorted(self._waiting, key=lambda draw: -draw[0]), []
        threads = min(torch.get_num_threads(), len(waiting))
        if threads < 2:
            for draw in waiting:
                _fill(draw)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(_fill, waiting))


def _fill(draw: tuple[int, int, Callable[[torch.Generator], object]]) -> None:
    _, seed, fill = draw
    with torch.no_grad():
        fill(torch.Generator().manual_seed(seed))


# Elements of a weight that is worth a thread; and of a part of one that a cache holds.
_LARGE, _PART = 2**15, 2**17


@torch.no_grad()
def normal_(weight: Tensor, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """``Tensor.normal_``, with the same numbers: part by part, since memory is slower than a cache.

    >>> weight = normal_(torch.empty(100, 1000), 0.0, 1.0, torch.Generator().manual_seed(0))
    >>> torch.equal(weight, torch.empty(100, 1000).normal_(generator=torch.Generator().manual_seed(0)))
    True
    """
    if not weight.is_contiguous():
        return weight.normal_(mean, std, generator=generator)
    for part in _parts(weight):
        part.normal_(mean, std, generator=generator)
    return weight


@torch.no_grad()
def truncated_normal_(weight: Tensor, std: float, cut: float, generator: torch.Generator) -> Tensor:
    """Fills a weight from a normal distribution of mean 0, cut at ``-cut`` and ``cut``: numbers beyond are drawn anew.

    The distribution of ``torch.nn.init.trunc_normal_``, whose numbers depend on the version of torch: it draws all of them anew
    until none is beyond, or inverts the distribution function.

    >>> weight = truncated_normal_(torch.empty(1000), 1.0, 2.0, torch.Generator().manual_seed(0))
    >>> bool(weight.abs().max() <= 2), round(weight.std().item(), 1)
    (True, 0.9)
    """
    if cut < _NARROW * std or not weight.is_contiguous():
        return nn.init.trunc_normal_(weight, std=std, a=-cut, b=cut, generator=generator)
    if cut > _NEVER * std or not weight.numel():
        return normal_(weight, 0.0, std, generator)
    flat, start, places = weight.view(-1), 0, []
    for part in _parts(weight):  # each part twice while it is in the cache
        places.append(_beyond(part.normal_(0.0, std, generator=generator), cut).add_(start))
        start += len(part)
    beyond = torch.cat(places)
    while len(beyond):
        again = flat.new_empty(len(beyond)).normal_(0.0, std, generator=generator)
        flat[beyond] = again
        beyond = beyond[_beyond(again, cut)]
    return weight


# A cut at so few deviations leaves few numbers: drawing until all are inside takes long. Beyond so many torch draws none.
_NARROW, _NEVER = 0.5, 9.0


def _parts(weight: Tensor) -> list[Tensor]:
    """The elements of a weight, part by part. None is so short that torch would draw other numbers for it than for the whole."""
    flat = weight.view(-1)
    count = max(1, len(flat) // _PART)
    return [flat[i * _PART : (i + 1) * _PART if i + 1 < count else None] for i in range(count)]


def _beyond(part: Tensor, cut: float) -> Tensor:
    """The places of the numbers that are not between ``-cut`` and ``cut``."""
    if part.dtype in (torch.float32, torch.float64):  # numpy finds them in half the time
        return torch.from_numpy(np.flatnonzero(np.abs(part.numpy()) > cut))
    return (part.abs() > cut).nonzero().squeeze(1)


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
