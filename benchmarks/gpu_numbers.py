"""Whether compiled networks give eager's answers on this device: every way and mode, forward and gradients.

python -m benchmarks.gpu_numbers [MODEL ...] [--device cpu]
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import metablock

from .models import build, input_size, outputs

DEFAULT = ("mobilenetv2_100", "poolformer_s12", "swin_tiny", "convnext_tiny")
# Of the largest output or gradient; float32 without TF32, sums in another order.
TOLERANCE = 2e-3


def ways(device: str) -> Iterator[dict[str, Any]]:
    """Arguments of :func:`metablock.compile`, the default first."""
    yield from ({}, {"way": "whole"}, {"way": "regions"}, {"channels_last": True}, {"channels_last": False})
    if device == "cuda":
        yield from ({"fused": True}, {"fused": False})
        yield from ({"mode": "reduce-overhead", "way": way} for way in ("nested", "whole", "regions"))


def answers(model: torch.nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs of inference, and the gradients of a sum of a training step's outputs."""
    torch.manual_seed(0)
    with torch.no_grad():
        results = [one.clone() for one in outputs(model.eval()(x))]
    sum(one.float().square().mean() for one in outputs(model(x))).backward()  # type: ignore[union-attr]
    return [*results, *(weight.grad for weight in model.parameters() if weight.grad is not None)]


def error(results: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, relative to the largest number of its tensor; what is tiny beside all others counts as noise."""
    largest = max(two.abs().max().item() for two in expected)
    return max(
        ((one - two).abs().max() / max(two.abs().max().item(), 1e-3 * largest)).item()
        for one, two in zip(results, expected, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(DEFAULT))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=2)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    worst = 0.0
    for name in args.models:
        eager = build(name, "ours").to(args.device)
        size = input_size(eager)
        x = torch.randn(args.batch, 3, size, size, device=args.device)
        expected = answers(copy.deepcopy(eager), x)
        for arguments in ways(args.device):
            torch.compiler.reset()
            started = time.perf_counter()
            try:
                wrong = error(answers(metablock.compile(copy.deepcopy(eager), **arguments), x), expected)
            except Exception as reason:  # the other ways are checked, too
                wrong = float("inf")
                print(f"{name} {arguments}: {(str(reason).strip().splitlines() or ['?'])[0][:160]}")
            worst = max(worst, wrong)
            seconds = time.perf_counter() - started
            print(
                f"{name} {arguments}: differs by {wrong:.1e}, {seconds:.0f} s{'' if wrong <= TOLERANCE else '  WRONG'}",
                flush=True,
            )
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
