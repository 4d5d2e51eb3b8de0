"""Whether the launches and bytes of three small models grew beyond what is committed in check.json."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

COMMITTED = Path(__file__).with_name("check.json")
# What must not grow, and by how much it may: bytes are rounded.
FIGURES = {"entries": 0.0, "host_launches": 0.0, "GB_total": 5e-4}
# Pooling, windows with bias, inverted residuals: two kinds of blocks each, with what lies between, to be quick.
MODELS = {
    "poolformer_s12": "depth = [2, 2, 0, 0]",
    "swin_tiny": "depth = [2, 2, 0, 0]",
    "mobilenetv2_100": "depth = [1, 2, 1, 0, 0, 0, 0]",
}


def grown(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for every figure that grew.

    >>> old = {"net": {"entries": 1, "host_launches": 100, "GB_total": 2.0}}
    >>> grown(old, {"net": {"entries": 1, "host_launches": 101, "GB_total": 1.5}})
    ['net: host_launches 101, was 100']
    """
    return [
        f"{name}: {key} {row[key]:.6g}, was {before[name][key]:.6g}"
        for name, row in now.items()
        for key, slack in FIGURES.items()
        if row[key] > before[name][key] * (1 + slack)
    ]


def main(write: bool = False) -> int:
    """Counts the models and prints what grew, or writes the figures. Returns the exit code: 0, or 1 if something grew.

    Without the version of torch that the figures were counted with, it counts nothing and says so.
    """
    committed: dict[str, Any] = (
        json.loads(COMMITTED.read_text(encoding="utf-8")) if not write else {"torch": _version(), "models": {}}
    )
    if committed["torch"] != _version():
        print(f"nothing to compare: check.json is of torch {committed['torch']}, this is {_version()}")
        return 0
    warnings.filterwarnings("ignore")
    import metablock  # noqa: F401  before CUDA is replaced

    from .device import install

    mode = install()
    from .counting import Recorder
    from .measure import Job, count

    recorder = Recorder(mode)

    now = {}
    for name, edit in MODELS.items():
        result = count(Job(name, edits=tuple(filter(None, [edit]))), recorder)
        now[name] = {key: round(result[key], 6) for key in FIGURES}
        print(f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in now[name].items()), flush=True)
    if write:
        COMMITTED.write_text(json.dumps({"torch": _version(), "models": now}, indent=2) + "\n", encoding="utf-8")
        return 0
    worse = grown(committed["models"], now)
    if worse:
        text = "\n".join([*worse, "if that is meant: python -m benchmarks.gpu_proxy --write-check"])
        print(text, file=sys.stderr)
    return int(bool(worse))


def _version() -> str:
    return ".".join(torch.__version__.split("+")[0].split(".")[:2])
