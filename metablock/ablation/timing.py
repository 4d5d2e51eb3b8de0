"""Times what networks do, and writes the latency of a study's networks into its journal."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from ..api import assemble, example
from ..backend.block import Block
from ..front import front
from .journal import Journal
from .machine import device_name
from .plan import Cell
from .progress import Progress, silent
from .record import latencies, network_key


def median_seconds(call: Callable[[], object], device: torch.device, *, repeats: int, warmup: int) -> float:
    """The median duration of a call in seconds; on a GPU until its work is finished.

    Args:
        call: what is timed.
        device: on which it works.
        repeats: calls that count.
        warmup: calls before them that do not count.

    >>> median_seconds(lambda: time.sleep(0.01), torch.device("cpu"), repeats=3, warmup=1) >= 0.01
    True
    """
    times = []
    for _ in range(warmup + repeats):
        started = time.perf_counter()
        call()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[warmup:])


@torch.no_grad()
def latency(model: Block, passes: int = 15) -> float:
    """The median duration of a forward pass with a batch of one, in milliseconds. Two passes before do not count.

    >>> import metablock
    >>> model = metablock.build("poolformer_s12", edits=["depth = 1", "dim = [8, 8, 8, 8]"], input="1x32x32")
    >>> latency(model.eval(), passes=1) > 0
    True
    """
    inputs = example(model)
    return 1000 * median_seconds(lambda: model(*inputs), inputs[0].device, repeats=passes, warmup=2)


def measure(journal: Journal, cells: Sequence[Cell], device: str, progress: Progress = silent) -> None:
    """Measures the latency of each cell's network and writes it into the journal: milliseconds, see :func:`latency`.

    A latency belongs to a network, by its spec and its code, and to a device: what is known is not measured again.
    """
    name = device_name(device)
    known = latencies(journal.about(), name)
    pending = [(cell, cell.spec) for cell in cells if cell.spec is not None and network_key(cell) not in known]
    journal.set_about({"device": name})
    for number, (cell, spec) in enumerate(pending):
        progress(f"latency of {cell.name}", number, len(pending))
        value = latency(assemble(*front(spec, large=True), device=device).eval())
        journal.add_latency(name, network_key(cell), value)


def latency_of(journal: Journal, cell: Cell, device: str) -> float:
    """The latency of one cell in milliseconds, measured once."""
    measure(journal, [cell], device)
    return latencies(journal.about(), device_name(device))[network_key(cell)]
