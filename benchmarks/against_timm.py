"""metablock beside timm: inference and training steps, eager and compiled, on a CPU or a GPU.

    python -m benchmarks.against_timm                          # the device that is here; batches 1 and 8, on a GPU 1, 64 and 256
    python -m benchmarks.against_timm --quick                  # three models, one batch, few rounds
    python -m benchmarks.against_timm swin_tiny --batch 8 --threads 2 --frozen -o table.md

A figure is time of timm's / time of ours, the median of rounds that are measured in turns, with the middle half of the rounds
behind it: above 1, ours is faster. A row whose middle half is wide is measured again, up to three times; a star says that it
stayed so.

On a CPU both are compiled with default settings. On a GPU both are in bfloat16, and compiled figures are of the best of
``--modes`` for either side, of timm's in both memory formats; nothing waits between calls; peak memory is what a call needs
beside the weights, in the default mode; "of the limit" is the least time of the products (``benchmarks.gpu_proxy.roofline``,
with what this GPU reaches) over ours.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import metablock

from .gpu_proxy.roofline import limit
from .models import MODELS, build, input_size, load_timm, outputs
from .timing import compare, device_limits, geomean, machine, sampler

QUICK = ("mobilenetv2_100", "poolformer_s12", "deit_small")
MODES = ("default", "reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class Setting:
    """What is measured in a row."""

    model: str
    batch: int
    mode: str
    device: str
    dtype: torch.dtype
    rounds: int
    tries: int

    @property
    def train(self) -> bool:
        return self.mode == "train"


def made(setting: Setting, side: str) -> nn.Module:
    """A fresh model of one side, where it runs."""
    return build(setting.model, side, train=setting.train).to(setting.device, setting.dtype)


def step(setting: Setting, model: Callable[[Tensor], Any], x: Tensor, module: nn.Module) -> Callable[[], object]:
    """A forward under inference mode, or a forward and backward."""

    def infer() -> object:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.inference_mode():
            return model(x)

    def train() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        sum(one.float().square().mean() for one in outputs(model(x))).backward()  # type: ignore[union-attr]
        module.zero_grad(set_to_none=True)

    return train if setting.train else infer


Run = tuple[Callable[[], object], float]


def eager(setting: Setting, side: str, x: Tensor) -> Run:
    model = made(setting, side)
    return warmed(step(setting, model, x, model))


def compiled(setting: Setting, side: str, x: Tensor, *, mode: str = "default", last: bool = False, frozen: bool = False) -> Run:
    """A compiled model of one side.

    Args:
        setting, side, x: the model and its input.
        mode: of ``torch.compile``.
        last: weights and images lie channels-last; ours are stored by :func:`metablock.compile` itself.
        frozen: weights are constants of the graph.
    """
    model = made(setting, side)
    options: dict[str, Any] = {} if mode == "default" else {"mode": mode}
    if side == "ours":
        return warmed(step(setting, metablock.compile(model, freeze=frozen, **options), x, model))
    if last:
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if frozen:
        options["options"] = {"freezing": True}
    return warmed(step(setting, torch.compile(model, **options), x, model))


def warmed(run: Callable[[], object]) -> Run:
    """A function and the seconds of its first call; it is called twice more, since sizes may compile again."""
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    first = time.perf_counter() - started
    run(), run()
    return run, first


def fastest(setting: Setting, side: str, x: Tensor, modes: list[str]) -> tuple[Callable[[], Run], str]:
    """What makes a side's fastest way on a GPU, and its name. A way that fails is left out."""
    times: dict[tuple[str, bool], float] = {}
    for mode in modes:
        for last in (False, True) if side == "timm" else (False,):
            torch.compiler.reset()
            gc.collect()
            torch.cuda.empty_cache()
            try:
                run, _ = compiled(setting, side, x, mode=mode, last=last)
                times[mode, last] = min(sampler(setting.device)(run, 10) for _ in range(3))
                del run
            except Exception as reason:  # the others may work
                print(f"  {setting.model}, {side}, {mode}: {first_line(reason)}", file=sys.stderr)
    if not times:
        raise RuntimeError(f"{side} compiles in no mode")
    mode, last = min(times, key=lambda way: times[way])
    return partial(compiled, setting, side, x, mode=mode, last=last), mode + ", channels-last" * last


def first_line(reason: Exception) -> str:
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0][:120]


def peak(run: Callable[[], object]) -> float:
    """The bytes that a call needs beside what is there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def cpu_row(setting: Setting, frozen: bool) -> dict[str, Any]:
    """The comparisons of one model, batch and mode on a CPU, by column."""
    size = input_size(made(setting, "ours"))
    x = torch.randn(setting.batch, 3, size, size, dtype=setting.dtype)
    both = partial(compare, sample=sampler("cpu"), rounds=setting.rounds, tries=setting.tries)
    row: dict[str, Any] = {"eager": both(*(eager(setting, side, x)[0] for side in ("ours", "timm")))}
    torch.compiler.reset()
    with torch._inductor.utils.fresh_cache():
        torch.compile(lambda x: x.sin() + 1)(torch.randn(64))  # what Inductor prepares once a machine
        runs = [compiled(setting, side, x) for side in ("ours", "timm")]
        row["compile"] = runs[1][1] / runs[0][1]
        row["compiled"] = both(runs[0][0], runs[1][0])
    if frozen and not setting.train:
        plain = runs[0][0]
        ours, theirs = (compiled(setting, side, x, frozen=True)[0] for side in ("ours", "timm"))
        row["frozen"], row["what freezing adds"] = both(ours, theirs), both(ours, plain)
    return row


def gpu_row(setting: Setting, modes: list[str], limits: tuple[float, float]) -> dict[str, Any]:
    """The comparisons of one model, batch and mode on a GPU, by column."""
    size = input_size(made(setting, "ours"))
    x = torch.randn(setting.batch, 3, size, size, dtype=setting.dtype, device="cuda")
    both = partial(compare, sample=sampler("cuda"), rounds=setting.rounds, tries=setting.tries)
    row: dict[str, Any] = {"eager": both(*(eager(setting, side, x)[0] for side in ("ours", "timm")))}
    ways = [fastest(setting, side, x, modes) for side in ("ours", "timm")]
    torch.compiler.reset()
    runs = [make()[0] for make, _ in ways]
    result = both(*runs)
    row["compiled"], row["ms"] = result, 1e3 * result.seconds[0]
    row["modes"] = " / ".join(name for _, name in ways)
    del runs
    row["peak"] = tuple(
        peak(compiled(setting, side, x)[0]) / 2**20 for side in ("ours", "timm")
    )  # CUDA graphs allocate beforehand
    if not setting.train:
        name = MODELS.get(setting.model, setting.model)
        blank = metablock.build(name, device="meta").eval()
        least = limit(blank, torch.empty(setting.batch, 3, size, size, device="meta"), *limits)
        row["of the limit"] = least.seconds / result.seconds[0]
    return row


CPU_COLUMNS = ("eager", "compiled", "compile")
GPU_COLUMNS = ("eager", "compiled", "ms", "of the limit", "peak MB ours / timm", "modes ours / timm")


def cells(row: dict[str, Any], device: str, frozen: bool) -> list[str]:
    """A row's cells."""
    if device == "cuda":
        share = f"{row['of the limit']:.2f}" if "of the limit" in row else ""
        return [
            str(row["eager"]),
            str(row["compiled"]),
            f"{row['ms']:.2f}",
            share,
            "{:.0f} / {:.0f}".format(*row["peak"]),
            row["modes"],
        ]
    result = [str(row["eager"]), str(row["compiled"]), f"{row['compile']:.2f}"]
    return [*result, *(str(row.get(key, "")) for key in ("frozen", "what freezing adds") if frozen)]


def table(settings: list[Setting], args: argparse.Namespace, write: Callable[[str], None]) -> None:
    """Measures and writes a table a batch and mode, line by line."""
    limits = device_limits() if args.device == "cuda" else (0.0, 0.0)
    columns = [*(GPU_COLUMNS if args.device == "cuda" else CPU_COLUMNS), *(["frozen", "what freezing adds"] * args.frozen)]
    started, groups = time.perf_counter(), dict.fromkeys((one.batch, one.mode) for one in settings)
    for batch, mode in groups:
        write(f"\n{'Training' if mode == 'train' else 'Inference'}, batch {batch}:\n")
        write("| model | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
        means: dict[str, list[float]] = {"eager": [], "compiled": []}
        for setting in (one for one in settings if (one.batch, one.mode) == (batch, mode)):
            if args.budget and time.perf_counter() - started > args.budget:
                write(f"| {setting.model} | no time left |")
                continue
            torch.compiler.reset()
            gc.collect()
            try:
                row = gpu_row(setting, args.modes, limits) if args.device == "cuda" else cpu_row(setting, args.frozen)
            except Exception as reason:  # one model that fails, of either library, does not end the table
                write(f"| {setting.model} | failed: {first_line(reason)} |")
                continue
            for key, values in means.items():
                values.append(row[key].ratio)
            write(f"| {setting.model} | " + " | ".join(cells(row, args.device, args.frozen)) + " |")
        if means["compiled"]:
            write(
                f"| geometric mean | {geomean(means['eager']):.2f} | {geomean(means['compiled']):.2f} |"
                + " |" * (len(columns) - 2)
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of benchmarks/models.py, or of both libraries; by default all fourteen")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, nargs="+", help="by default 1 and 8, on a GPU 1, 64 and 256")
    parser.add_argument("--mode", choices=("infer", "train"), nargs="+", default=["infer", "train"])
    parser.add_argument(
        "--modes", choices=MODES, nargs="+", default=list(MODES), help="on a GPU: of torch.compile, tried for either side"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="by default float32, on a GPU bfloat16")
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()), help="of a CPU")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--tries", type=int, default=3, help="of a row whose spread is wide")
    parser.add_argument("--frozen", action="store_true", help="frozen inference, too, on a CPU")
    parser.add_argument("--quick", action="store_true", help="three models, one batch, few rounds")
    parser.add_argument("--budget", type=float, help="start no row after so many seconds")
    parser.add_argument("-o", "--output", type=Path, help="append the table to this file, too")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    if args.device == "cpu":
        torch.set_num_threads(args.threads)
    gpu = args.device == "cuda"
    dtype = getattr(torch, args.dtype or ("bfloat16" if gpu else "float32"))
    batches = args.batch or ([64] if gpu else [1]) if args.quick else args.batch or ([1, 64, 256] if gpu else [1, 8])
    names = args.models or (list(QUICK) if args.quick else list(MODELS))
    first = Setting("", 0, "", args.device, dtype, 5 if args.quick else args.rounds, 1 if args.quick else args.tries)
    settings = [replace(first, model=name, batch=batch, mode=mode) for batch in batches for mode in args.mode for name in names]

    def write(line: str) -> None:
        print(line, flush=True)
        if args.output:
            with args.output.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    kind = str(dtype).removeprefix("torch.")
    write(f"{machine(args.device)}; torch {torch.__version__}, timm {load_timm().__version__}; {kind}; {first.rounds} rounds")
    table(settings, args, write)


if __name__ == "__main__":
    main()
