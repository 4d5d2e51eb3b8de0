"""The machine and the versions that numbers depend on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def device_name(device: str) -> str:
    """A device in words: the GPU's name for ``cuda``, the processor's for ``cpu``, otherwise the device itself.

    >>> device_name("mps")
    'mps'
    """
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name(torch.device(device))
    return hardware() if device == "cpu" else device


def hardware() -> str:
    """The processor and its number of cores, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        model = ""
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def conditions(device: str, threads: int = 0) -> dict[str, Any]:
    """What may change a run's numbers in their last digits: recorded for each run, and compared by reports.

    Args:
        device: ``cpu``, ``cuda``, ``mps``.
        threads: of torch on the CPU; 0: as many as it has now.

    >>> sorted(conditions("cpu", threads=2))
    ['device', 'kind', 'metablock', 'threads', 'torch']
    """
    import torch

    both = {name: text for name, text in versions().items() if name in ("metablock", "torch")}
    kind = device.partition(":")[0]
    return {"device": device_name(device), "kind": kind, "threads": threads or torch.get_num_threads(), **both}


def versions() -> dict[str, str]:
    """Versions of metablock, Python, torch and numpy.

    >>> sorted(versions())
    ['metablock', 'numpy', 'python', 'torch']
    """
    import numpy
    import torch

    from .. import __version__

    modules = {
        "metablock": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
    return {name: str(version) for name, version in modules.items()}
