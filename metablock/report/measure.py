"""Runs a network once, compiled or not, and times further passes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..api import example
from ..backend.block import Block
from ..backend.compiler import compile, distinct
from ..backend.tune import Tuning, apply
from ..backend.tune import tune as tune_model
from ..errors import MetablockError
from .models import Graphs

# The latency is the median of so many passes, but no new pass starts after so many seconds of them.
PASSES, PATIENCE = 5, 3.0

# Called with what a verb is doing: "counting", "compiling".
PhaseWatch = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What the passes of a network showed.

    Attributes:
        outputs: the shapes of the outputs, batch included.
        compiling: seconds of compilation, first pass included; None in eager mode.
        latency: seconds of a pass, the median of ``passes``; None on ``meta``.
        passes: how many passes were timed.
        graphs: the distinct blocks, and the graphs that torch.compile produced for them.
        tuning: the ways to compile that were measured; None without tuning.
    """

    outputs: tuple[tuple[int, ...], ...]
    compiling: float | None
    latency: float | None
    passes: int
    graphs: Graphs
    tuning: Tuning | None = None


def measure(
    model: Block,
    *,
    compiled: bool = False,
    tune: bool = False,
    seed: int = 0,
    batch: int = 1,
    progress: PhaseWatch = lambda phase: None,
) -> Measured:
    """Runs a network on random inputs: a first pass, with compilation if asked for, then timed ones.

    Args:
        model: a network in evaluation; on ``meta`` nothing is compiled or timed. With ``compiled`` it is compiled in place.
        compiled: whether the network is compiled (see :func:`metablock.compile`).
        tune: whether it is compiled in the fastest way (see :func:`metablock.backend.tune.tune`).
        seed: of the random inputs.
        batch: the number of examples in a pass.
        progress: called with each phase.

    Raises:
        MetablockError: the device has too little memory, or cannot run or compile the network.

    >>> import metablock
    >>> measure(metablock.build("resnet18", device="meta"), batch=4).outputs
    ((4, 1000),)
    """
    weight = next(model.parameters(), torch.empty(0))
    place, dtype = weight.device, weight.dtype
    compiling: float | None = None
    latency: float | None = None
    passes, graphs, tuning = 0, None, None
    with torch.no_grad(), device_errors(place, dtype, "the forward pass"):
        inputs = example(model, batch, seed=seed)
        if compiled and place.type != "meta":
            if tune:
                progress("tuning")
                tuning = tune_model(model, inputs, progress=progress)
            progress("compiling")
            with device_errors(place, dtype, "compiling"):
                output, compiling, graphs = _compile(model, inputs, place, tuning)
        else:
            progress("running")
            output = model(*inputs)
        if place.type != "meta":
            progress("measuring")
            latency, passes = _latency(model, inputs, place)
    counted = Graphs(distinct=distinct(model), compiled=graphs)
    return Measured(tuple(_shapes(output)), compiling, latency, passes, counted, tuning)


@contextmanager
def device_errors(place: torch.device, dtype: torch.dtype, doing: str) -> Iterator[None]:
    """Turns failures of the device or dtype inside the block into a MetablockError.

    Args:
        place: where the network runs.
        dtype: of its weights.
        doing: the subject of the message: ``"compiling"``.

    Raises:
        MetablockError: for a RuntimeError, MemoryError or NotImplementedError inside.

    >>> with device_errors(torch.device("cpu"), torch.float16, "the forward pass"):
    ...     raise RuntimeError("not implemented for 'Half'")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: the forward pass failed on cpu in float16: not implemented for 'Half'
      try --device cpu --dtype float32
    """
    try:
        yield
    except (RuntimeError, MemoryError, NotImplementedError) as problem:
        first = next(iter(str(problem).strip().splitlines()), type(problem).__name__)
        if isinstance(problem, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(problem):
            raise MetablockError(f"{doing} takes more memory than {place} has", "lower --batch or --input") from None
        hint = "--no-compile runs it without torch.compile" if doing == "compiling" else "try --device cpu --dtype float32"
        name = str(dtype).removeprefix("torch.")
        raise MetablockError(f"{doing} failed on {place} in {name}: {first}", hint) from None


def _compile(model: Block, inputs: list[Tensor], place: torch.device, tuning: Tuning | None) -> tuple[Any, float, int]:
    """The output of the first compiled pass, its seconds, and the number of graphs that torch.compile produced."""
    from torch._dynamo.utils import counters

    before, started = counters["stats"]["unique_graphs"], time.perf_counter()
    output = (compile(model) if tuning is None else apply(model, tuning.best))(*inputs)
    _wait(place)
    return output, time.perf_counter() - started, counters["stats"]["unique_graphs"] - before


def _latency(model: Block, inputs: list[Tensor], place: torch.device) -> tuple[float, int]:
    """The median seconds of a pass, and how many passes that is of."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < PASSES and sum(seconds) < PATIENCE):
        started = time.perf_counter()
        model(*inputs)
        _wait(place)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), len(seconds)


def _wait(place: torch.device) -> None:
    if place.type != "cpu":
        torch.accelerator.synchronize(place)


def _shapes(value: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(value, Tensor):
        yield tuple(value.shape)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _shapes(item)
    elif isinstance(value, dict):
        yield from _shapes(list(value.values()))
