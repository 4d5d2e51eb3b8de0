"""Times two functions beside each other: in turns, with the spread of their ratio, again where that is wide."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

# A ratio counts as settled when the middle half of its rounds lies within this part of it.
WIDE = 0.06
# A sample runs a function for at least so many seconds.
SAMPLE = 0.1

Function = Callable[[], object]
# Seconds a call of a function that is called so many times.
Sample = Callable[[Function, int], float]


@dataclass(frozen=True)
class Comparison:
    """How much faster the first of two functions is.

    Attributes:
        ratio: time of the second over time of the first, the median of the rounds: above 1, the first is faster.
        low, high: the quartiles of the rounds.
        seconds: of a call of each, medians.
        tries: how often it was measured until the spread was narrow, or patience was over.
    """

    ratio: float
    low: float
    high: float
    seconds: tuple[float, float]
    tries: int = 1

    @property
    def spread(self) -> float:
        """The width of the middle half, as a part of the ratio."""
        return (self.high - self.low) / self.ratio

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.low:.2f}–{self.high:.2f}){'*' if self.spread > WIDE else ''}"


def summary(pairs: Sequence[tuple[float, float]]) -> Comparison:
    """The comparison that rounds make: of each round the seconds of either function.

    >>> print(summary([(1.0, 2.0), (1.0, 2.0), (2.0, 4.2)]))
    2.00 (2.00–2.05)
    """
    ratios = [second / first for first, second in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Comparison(middle, low, high, (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)))


def compare(first: Function, second: Function, sample: Sample, rounds: int = 9, tries: int = 3) -> Comparison:
    """Compares two functions in rounds; who begins changes each round. While the spread is wide it measures again.

    Args:
        first, second: what is timed; both are called before.
        sample: gives the seconds of a call.
        rounds: pairs of samples a try.
        tries: at most so many; the one with the narrowest spread counts.
    """
    counts = [math.ceil(SAMPLE / max(sample(function, 2), 1e-9)) for function in (first, second)]
    done: list[Comparison] = []
    while not done or (done[-1].spread > WIDE and len(done) < tries):
        pairs: list[tuple[float, float]] = []
        for number in range(rounds):
            if number % 2:
                after, before = sample(second, counts[1]), sample(first, counts[0])
            else:
                before, after = sample(first, counts[0]), sample(second, counts[1])
            pairs.append((before, after))
        done.append(summary(pairs))
    best = min(done, key=lambda one: one.spread)
    return Comparison(best.ratio, best.low, best.high, best.seconds, len(done))


def on_cpu(function: Function, count: int) -> float:
    """Seconds a call, by the wall clock."""
    start = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - start) / count


def on_cuda(function: Function, count: int) -> float:
    """Seconds a call, by events around all calls: nothing waits between them."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(count):
        function()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3 / count


def sampler(device: str) -> Sample:
    return on_cuda if device == "cuda" else on_cpu


def geomean(values: Sequence[float]) -> float:
    """The geometric mean.

    >>> geomean([0.5, 2.0])
    1.0
    """
    return math.exp(sum(map(math.log, values)) / len(values))


def machine(device: str) -> str:
    """The device, and how many of its threads are used."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} of {os.cpu_count()} threads, load {os.getloadavg()[0]:.1f} at the start"


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or "CPU")


def device_limits() -> tuple[float, float]:
    """Bytes and bfloat16 operations a second that this GPU reaches: a large copy, a large product."""
    x = torch.empty(2**28, dtype=torch.float32, device="cuda")
    y = torch.empty_like(x)
    a = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    functions: tuple[Function, ...] = (lambda: y.copy_(x), lambda: a @ a)
    for function in functions:
        on_cuda(function, 5)
    copying, multiplying = (min(on_cuda(function, 10) for _ in range(3)) for function in functions)
    return 2 * 4 * x.numel() / copying, 2 * 8192**3 / multiplying
