"""Measures one compiled model: how long a pass or a step of training takes, without a trace of earlier ones."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

# A figure is the median of passes: at most so many, and none begins after so many seconds.
PASSES, PATIENCE, WARM = 30, 1.0, 2


def measure(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[float, float]:
    """Runs a model: in training forward and backward, otherwise forward.

    Args:
        model: compiled or not; its gradients, statistics and outputs are thrown away.
        inputs: what enters it.

    Returns:
        The median seconds of a pass, and the seconds of the first one, which compiles.

    >>> seconds, first = measure(nn.Linear(4, 2), [torch.zeros(1, 4)])
    >>> 0 < seconds < 1
    True
    """
    device = inputs[0].device
    step = _training(model, inputs) if model.training else _inference(model, inputs)
    started = time.perf_counter()
    step()
    _wait(device)
    compiling = time.perf_counter() - started
    return _seconds(step, device), compiling


@contextmanager
def alone(device: torch.device) -> Iterator[None]:
    """A trial starts with nothing compiled, leaves nothing behind, and draws from a generator of its own."""
    torch.compiler.reset()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.compiler.reset()
        if devices:
            gc.collect()
            torch.cuda.empty_cache()


def _inference(model: nn.Module, inputs: Sequence[Tensor]) -> Callable[[], None]:
    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad():
            model(*inputs)

    return step


def _training(model: nn.Module, inputs: Sequence[Tensor]) -> Callable[[], None]:
    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        results = [one for one in _tensors(model(*inputs)) if one.requires_grad]
        torch.autograd.backward(results, [torch.ones_like(one) for one in results])
        model.zero_grad(set_to_none=True)

    return step


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    """The median time of a step. On a GPU by events, without waiting in between."""
    for _ in range(WARM):
        step()
    _wait(device)
    if device.type == "cuda":
        marks = [torch.cuda.Event(enable_timing=True)]
        marks[0].record()
        started = time.perf_counter()
        while len(marks) <= 3 or (len(marks) <= PASSES and time.perf_counter() - started < PATIENCE):
            step()
            marks.append(torch.cuda.Event(enable_timing=True))
            marks[-1].record()
        torch.cuda.synchronize(device)
        return statistics.median(a.elapsed_time(b) / 1e3 for a, b in pairwise(marks))
    times: list[float] = []
    while len(times) < 3 or (len(times) < PASSES and sum(times) < PATIENCE):
        started = time.perf_counter()
        step()
        _wait(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def reason(problem: Exception) -> str:
    """A failure in a line."""
    if isinstance(problem, (MemoryError, torch.OutOfMemoryError)):
        return "out of memory"
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines[0] if lines else type(problem).__name__)[:160]
