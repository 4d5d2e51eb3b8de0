"""The least time of each model on an H200, modelled: every product reads and writes once, all else is free.

    python -m benchmarks.gpu_proxy.roofline [MODEL ...]

Each matrix product, convolution and attention takes max(bytes / bandwidth, operations / peak) in bfloat16, at batch 64; grouped
convolutions count as bound by memory. Runs on ``meta``: nothing is computed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import metablock

from ..models import MODELS, input_size

# As device.py has them, which needs a build without CUDA.
BANDWIDTH, PEAK_BF16 = 4.3e12, 790e12


@dataclass(frozen=True)
class Limit:
    """What a model cannot do without, in one forward.

    Attributes:
        bytes: that products read and write.
        flops: of products; two a multiplication and addition.
        seconds: the least time.
        memory_share: the part of it in which memory is the limit.
    """

    bytes: int
    flops: int
    seconds: float
    memory_share: float


def limit(model: nn.Module, x: Tensor, bandwidth: float = BANDWIDTH, peak: float = PEAK_BF16, width: int = 2) -> Limit:
    """The least that a forward takes.

    Args:
        model: a network on ``meta`` or elsewhere; it runs once.
        x: its input.
        bandwidth, peak: bytes and operations a second.
        width: bytes a number.
    """
    products = _Products(width)
    with torch.no_grad(), products, _Attention(products):
        model(x)
    pairs = [(size / bandwidth, flops / peak) for size, flops in products.ops]
    seconds = sum(map(max, pairs))
    bound = sum(memory for memory, compute in pairs if memory >= compute)
    return Limit(
        sum(size for size, _ in products.ops), sum(flops for _, flops in products.ops), seconds, bound / max(seconds, 1e-30)
    )


class _Products(TorchDispatchMode):
    """Notes the bytes and operations of every matrix product and convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ops: list[tuple[int, int]] = []
        self.width = width

    def bytes(self, *tensors: Tensor) -> int:
        return self.width * sum(tensor.numel() for tensor in tensors)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name = function(*args, **(kwargs or {})), function.overloadpacket.__name__
        if name in ("mm", "bmm", "addmm", "baddbmm"):
            a, b = args[1:3] if name in ("addmm", "baddbmm") else args[:2]
            self.ops.append((self.bytes(a, b, out), 2 * out.numel() * a.shape[-1]))
        elif name == "convolution":
            weight, groups = args[1], args[8]
            self.ops.append((self.bytes(args[0], weight, out), 2 * out.numel() * weight[0].numel() if groups == 1 else 0))
        return out


class _Attention(TorchFunctionMode):
    """Takes attention as one product, whose weights are never written."""

    def __init__(self, products: _Products) -> None:
        super().__init__()
        self.products = products

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        q, k, v = args[:3]
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        if q.dim() == 4:  # its strides are those of (batch, keys, heads, channels)
            out = out.transpose(1, 2).contiguous().transpose(1, 2)
        flops = 2 * q[..., 0].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1])
        self.products.ops.append((self.products.bytes(q, k, v, out), flops))
        return out


def ideal(name: str, batch: int = 64) -> Limit:
    """The limit of a model of ours on an H200 in bfloat16."""
    model = metablock.build(MODELS.get(name, name), device="meta").eval()
    size = input_size(model)
    return limit(model, torch.empty(batch, 3, size, size, device="meta"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    print("| model | GB | GFLOP | ms | bound by memory |\n|---|---|---|---|---|")
    for name in args.models:
        one = ideal(name, args.batch)
        print(f"| {name} | {one.bytes / 1e9:.2f} | {one.flops / 1e9:.0f} | {1e3 * one.seconds:.3f} | {one.memory_share:.2f} |")


if __name__ == "__main__":
    main()
