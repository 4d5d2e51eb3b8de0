"""metablock beside timm, in one run: build, compile, inference and training step, eager and compiled.

    python benchmarks/against_timm.py [--models swin_tiny vit_tiny_patch16_224 ...] [--batch N] [--size N] [-o FILE.md]

Figures are ratios timm / metablock from alternating measurements (the median of each): above 1, metablock is faster.
Absolute times
are printed for a GPU only, with its name. timm's whole model is compiled by ``torch.compile(model)``, ours by
``metablock.compile(model)``; both in the memory format that the library's users get by default.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

import metablock

# our name: timm's. Where timm's function differs from the official one (see the notes in the spec), the work is still the same.
PAIRS = {
    "poolformer_s12": "poolformer_s12",
    "poolformerv2_s12": "poolformerv2_s12",
    "convformer_s18": "convformer_s18",
    "caformer_s18": "caformer_s18",
    "convnext_tiny": "convnext_tiny",
    "vit_tiny_patch16_224": "vit_tiny_patch16_224",
    "vit_small_r26_s32_224": "vit_small_r26_s32_224",
    "deit_tiny_distilled_patch16_224": "deit_tiny_distilled_patch16_224",
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "mobilenetv2_100": "mobilenetv2_100",
    "mixer_s16_224": "mixer_s16_224",
}
COLUMNS = ("build", "compile", "infer eager", "infer compiled", "train eager", "train compiled", "compiled vs own eager")


@dataclass
class Side:
    """One library's model and what was measured on it, in seconds."""

    make: Callable[[], nn.Module]
    compile: Callable[[nn.Module], nn.Module]
    times: dict[str, float] = field(default_factory=dict)


def load_timm() -> object:
    """timm, with the two schemas that its torchvision needs where torchvision's compiled half does not load."""
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEEP.append(library)
    import timm

    return timm


_KEEP: list[object] = []


def once(run: Callable[[], object], device: str) -> float:
    """One run's wall-clock time."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def alternate(a: Callable[[], object], b: Callable[[], object], device: str, rounds: int) -> tuple[float, float]:
    """Medians of both, measured in turns, so that a busy machine slows both alike."""
    for run in (a, b, a, b):
        run()
    pairs = [(once(a, device), once(b, device)) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def compilation(run: Callable[[], object], device: str) -> float:
    """The time of a first pass that finds nothing compiled before, apart from what inductor prepares once a machine."""
    with torch._inductor.utils.fresh_cache():
        torch.compile(lambda x: x.sin() + 1)(torch.randn(64, device=device))
        return once(run, device)


def inference(model: nn.Module, x: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.inference_mode():
            return model(x)

    return run


def training(model: nn.Module, x: Tensor) -> Callable[[], object]:
    def run() -> None:
        output = model(x)
        output = sum(output.values()) if isinstance(output, dict) else sum(output) if isinstance(output, tuple) else output
        output.float().square().mean().backward()
        for parameter in model.parameters():
            parameter.grad = None

    return run


def measure(ours: str, theirs: str, args: argparse.Namespace, timm: object) -> dict[str, float]:
    """The ratios of one model."""
    size = (args.batch, 3, args.size, args.size)
    kind = torch.bfloat16 if args.device == "cuda" else torch.float32
    x = torch.randn(size, device=args.device, dtype=kind)
    sides = [
        Side(
            lambda: metablock.build(ours, edits=["drop = 0"] if "drop" in metablock.resolved(ours).columns else []),
            metablock.compile,
        ),
        Side(lambda: timm.create_model(theirs, num_classes=1000), torch.compile),  # type: ignore[attr-defined]
    ]
    result: dict[str, float] = {}

    def note(name: str, pair: tuple[float, float]) -> None:
        sides[0].times[name], sides[1].times[name] = pair
        result[name] = pair[1] / pair[0]

    sides[0].make(), sides[1].make()  # first calls read files and import modules
    note("build", alternate(sides[0].make, sides[1].make, "cpu", 3))
    models = [side.make().to(args.device, kind) for side in sides]
    for mode, task in (("infer", inference), ("train", training)):
        for model in models:
            model.train(mode == "train")
        runs = [task(model, x) for model in models]
        note(f"{mode} eager", alternate(runs[0], runs[1], args.device, args.rounds))
    if not args.eager:
        for mode, task in (("infer", inference), ("train", training)):
            torch._dynamo.reset()
            for model in models:
                model.train(mode == "train")
            compiled = [side.compile(model) for side, model in zip(sides, models, strict=True)]
            runs = [task(model, x) for model in compiled]
            if mode == "infer":
                note("compile", (compilation(runs[0], args.device), compilation(runs[1], args.device)))
            note(f"{mode} compiled", alternate(runs[0], runs[1], args.device, args.rounds))
        result["compiled vs own eager"] = sides[0].times["infer eager"] / sides[0].times["infer compiled"]
    if args.device == "cuda":
        for side, name in zip(sides, ("metablock", "timm"), strict=True):
            print(f"  {name}: " + ", ".join(f"{key} {1000 * value:.1f} ms" for key, value in side.times.items()))
    return result


def machine(args: argparse.Namespace) -> str:
    place = torch.cuda.get_device_name() if args.device == "cuda" else f"{_processor()}, {torch.get_num_threads()} threads"
    kind = "bfloat16" if args.device == "cuda" else "float32"
    return f"{place}; torch {torch.__version__}, timm {args.timm}; batch {args.batch}, {args.size} x {args.size}, {kind}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or "CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(PAIRS))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--eager", action="store_true", help="leave compilation out")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    args.device = "cuda" if torch.cuda.is_available() else "cpu"
    timm = load_timm()
    args.timm = timm.__version__  # type: ignore[attr-defined]
    columns = [c for c in COLUMNS if not args.eager or "compile" not in c]
    lines = [machine(args), "", "| model | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    print("\n".join(lines), flush=True)
    for name in args.models:
        ratios = measure(name, PAIRS[name], args, timm)
        row = f"| {name} | " + " | ".join(f"{ratios[c]:.2f}" for c in columns) + " |"
        lines.append(row)
        print(row, flush=True)
        gc.collect()
    if args.output:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
