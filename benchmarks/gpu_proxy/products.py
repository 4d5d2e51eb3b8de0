"""Which kernel computes a matrix product. Inductor measures that on a GPU; here a model of the device decides."""

from __future__ import annotations

from math import prod
from typing import Any

from torch._inductor import config, select_algorithm

from .device import BANDWIDTH, LAUNCH, PEAK_BF16

# What one of Inductor's templates reaches of the library's operations a second.
TEMPLATE = 0.75


def install() -> None:
    """Replaces Inductor's measurements in this process, for good. Convolutions stay with the library."""
    config.benchmark_epilogue_fusion = False
    cache: Any = select_algorithm.AlgorithmSelectorCache
    cache.__call__ = _choose


def _choose(self: Any, name: str, choices: list[Any], input_nodes: list[Any], layout: Any, *args: Any, **kwargs: Any) -> Any:
    """The library's kernel, or a template where the slower product costs less than the pass over it that it saves."""
    library = next((one for one in choices if isinstance(one, select_algorithm.ExternKernelCaller)), None)
    template = next((one for one in choices if isinstance(one, select_algorithm.TritonTemplateCaller)), None)
    best = library or choices[0]
    if template is not None and name != "convolution":
        left, right = (list(map(int, node.get_size())) for node in input_nodes[-2:])
        item, out = layout.dtype.itemsize, prod(map(int, layout.size))
        moved, flops = item * (prod(left) + prod(right) + out), 2 * out * left[-1]
        apart = max(moved / BANDWIDTH, flops / PEAK_BF16) + max(2 * item * out / BANDWIDTH, LAUNCH)
        if library is None or max(moved / BANDWIDTH, flops / PEAK_BF16 / TEMPLATE) < apart:
            best = template
    return best.output_node(), best
