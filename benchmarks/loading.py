"""Loading: `metablock.build` beside `timm.create_model`, and how building grows with the network.

    python -m benchmarks.loading [--models vit_tiny_patch16_224 ...] [--quick] [--threads N] [--rounds N] [-o FILE.md]

By default every model that timm and the catalogue both have, one at a time. Both sides are warm (built once before) and measured
in turns. Figures are ratios timm / metablock of the least time of each: above 1, metablock is faster. "CPU" is the time that the
process used, which a busy machine changes little; "elapsed" is the clock's. Growth is in CPU seconds of the first build, and in
MiB of memory beyond the peak before it.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import metablock
from metablock.catalogue.lookup import catalogue

from .models import load_timm

QUICK = (
    "poolformer_s12", "mixer_s16_224", "swin_tiny_patch4_window7_224", "mobilenetv2_100", "caformer_s18", "vit_small_patch16_224",
    "convnext_tiny", "resnet50", "fastvit_t8", "maxvit_tiny_tf_224",
)  # fmt: skip
BLOCK = "res(layer_norm >> linear(c) >> gelu >> linear(c))"


def both(timm: Any) -> Iterator[str]:
    """The names of the variants that timm has, too, smaller networks first."""
    sizes: dict[str, int] = {}
    for spec in catalogue().values():
        for variant in spec.variants:
            if timm.is_model(variant):
                sizes[variant] = int(spec.facts.of(variant).get("params", 0))
    yield from sorted(sizes, key=lambda name: sizes[name])


def once(make: Callable[[], object]) -> tuple[float, float]:
    """CPU and elapsed seconds of one call. What it returns is gone before the next."""
    gc.collect()
    cpu, start = time.process_time(), time.perf_counter()
    result = make()
    used = time.process_time() - cpu, time.perf_counter() - start
    del result
    return used


def compare(timm: Any, name: str, rounds: int) -> tuple[float, float]:
    """The ratios timm / metablock of CPU and elapsed time."""
    sides = [lambda: metablock.build(name), lambda: timm.create_model(name)]
    for make in sides:
        once(make)
    times: list[list[tuple[float, float]]] = [[], []]
    for _ in range(rounds):
        for own, make in zip(times, sides, strict=True):
            own.append(once(make))
    least = [[min(column) for column in zip(*own, strict=True)] for own in times]
    return least[1][0] / least[0][0], least[1][1] / least[0][1]


def peak() -> float:
    """The largest resident memory of this process so far, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def growth() -> list[tuple[str, str, str, str]]:
    """Networks of many blocks and of many parameters: what, CPU seconds, memory in MiB, parameters."""
    rows = []
    for what, depth, width, device in (
        ("100 blocks", 100, 16, "cpu"),
        ("1000 blocks", 1000, 16, "cpu"),
        ("1000 blocks, on meta", 1000, 16, "meta"),
        ("a billion parameters, on meta", 60, 2896, "meta"),
    ):
        text = f"name: n\ninput: image(3, 8)\nstem: conv({width}, 1)\nstages: {{depth: [{depth}], body: depth * {BLOCK}}}\n"
        spec = metablock.load_text(text + "head: global_pool >> linear(classes)\n")
        before, start = peak(), time.process_time()
        model = metablock.build(spec, device=device)
        seconds = time.process_time() - start
        count = sum(parameter.numel() for parameter in model.parameters())
        rows.append((what, f"{seconds:.2f}", f"{peak() - before:.0f}", f"{count:,}"))
        del model
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--quick", action="store_true", help="ten models instead of all")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    timm = load_timm()
    grown = growth()
    lines = ["| model | CPU | elapsed |", "|---|---|---|"]
    ratios: list[tuple[float, float]] = []
    for name in args.models or (QUICK if args.quick else both(timm)):
        ratios.append(compare(timm, name, args.rounds))
        lines.append(f"| {name} | {ratios[-1][0]:.2f} | {ratios[-1][1]:.2f} |")
        print(lines[-1], flush=True)
    cpu, elapsed = ([pair[column] for pair in ratios] for column in (0, 1))
    means = statistics.geometric_mean(cpu), statistics.geometric_mean(elapsed)
    lines.append(f"| geometric mean of {len(ratios)} | {means[0]:.2f} | {means[1]:.2f} |")
    lines.append(f"| least | {min(cpu):.2f} | {min(elapsed):.2f} |")
    lines += [
        "",
        "| network | CPU seconds | MiB | parameters |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in grown),
    ]
    versions = f"torch {torch.__version__}, timm {importlib.metadata.version('timm')}, Python {platform.python_version()}"
    table = "\n".join([f"{platform.processor() or platform.machine()}, {args.threads} threads; {versions}", "", *lines, ""])
    if args.output:
        args.output.write_text(table, encoding="utf-8")
    print(f"\n{table}")


if __name__ == "__main__":
    main()
