"""Memory of a training step: what a forward saves for its backward, ours beside timm's.

    python -m benchmarks.training_memory                       # eager, on this CPU; on a GPU compiled, too, and the peak
    python -m benchmarks.training_memory swin_tiny --batch 8 -o table.md

Eager: the bytes of the distinct tensors that autograd keeps, weights and inputs left out. They do not depend on the device.
On a GPU also the peak of a compiled step beside weights and gradients. Without one, ``benchmarks.gpu_proxy --mode train``
counts what compiled forwards save (its column "saved GB").
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import metablock

from .models import MODELS, SIDES, build, input_size, load_timm, outputs
from .timing import geomean, machine

QUICK = ("mobilenetv2_100", "poolformer_s12", "deit_small")


def saved(model: nn.Module, x: Tensor) -> int:
    """The bytes that a forward keeps for its backward: each storage once, those of parameters, buffers and the input not at all.

    >>> saved(nn.Sequential(nn.Linear(4, 8), nn.Sigmoid()), torch.zeros(2, 4))  # the sigmoid keeps its output
    64
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers(), x)}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = model(x)
    total = sum(kept.values())
    del result
    return total


def peak(model: nn.Module, run: Callable[[Tensor], Any], x: Tensor) -> int:
    """The bytes that a step on a GPU needs at most, beside weights and gradients."""

    def step() -> None:
        sum(one.float().square().mean() for one in outputs(run(x))).backward()  # type: ignore[union-attr]

    for _ in range(3):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def row(name: str, batch: int, device: str) -> list[tuple[int, int]]:
    """Ours and timm's bytes: saved by an eager forward, and on a GPU the peak of a compiled step."""
    figures: list[list[int]] = []
    for side in SIDES:
        kind = torch.bfloat16 if device == "cuda" else torch.float32
        model = build(name, side, train=True).to(device, kind)
        size = input_size(model)
        x = torch.randn(batch, 3, size, size, device=device, dtype=kind)
        figures.append([saved(model, x)])
        if device == "cuda":
            torch.compiler.reset()
            figures[-1].append(peak(model, metablock.compile(model) if side == "ours" else torch.compile(model), x))
    return list(zip(*figures, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="by default all of benchmarks/models.py")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--quick", action="store_true", help="three models, a small batch")
    parser.add_argument("-o", "--output", type=Path, help="append the table to this file, too")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    batch = args.batch or (64 if args.device == "cuda" else 1 if args.quick else 4)
    names = args.models or (list(QUICK) if args.quick else list(MODELS))

    def write(line: str) -> None:
        print(line, flush=True)
        if args.output:
            with args.output.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    gpu = args.device == "cuda"
    kinds = ["saved, eager", *["peak, compiled"] * gpu]
    versions = f"torch {torch.__version__}, timm {load_timm().__version__}; {'bfloat16' if gpu else 'float32'}; batch {batch}"
    write(f"MB an image, ours / timm's; {machine('cuda') + '; ' if gpu else ''}{versions}\n")
    write("| model | " + " | ".join(f"{kind} | ratio" for kind in kinds) + " |\n" + "|---" * (2 * len(kinds) + 1) + "|")
    means: list[list[float]] = [[] for _ in kinds]
    for name in names:
        cells = []
        for values, (ours, theirs) in zip(means, row(name, batch, args.device), strict=True):
            values.append(ours / theirs)
            cells.append(f"{ours / batch / 1e6:.1f} / {theirs / batch / 1e6:.1f} | {values[-1]:.2f}")
        write(f"| {name} | " + " | ".join(cells) + " |")
    write("| geometric mean |" + "".join(f"  | {geomean(values):.2f} |" for values in means))


if __name__ == "__main__":
    main()
