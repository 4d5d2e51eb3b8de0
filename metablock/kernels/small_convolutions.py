"""Depthwise convolutions with few taps become arithmetic, which Inductor fuses with the operators around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import fx
from torch._inductor import custom_graph_pass as passes

from .depthwise import TAPS

aten, prims = torch.ops.aten, torch.ops.prims

HALF = (torch.bfloat16, torch.float16)

# Older releases of torch do not say whether a graph is for inference: there the pass changes nothing.
_Pass: Any = getattr(passes, "CustomInferenceAwareGraphPass", passes.CustomGraphPass)


class SmallConvolutions(_Pass):
    """A pass over Inductor's graphs (``post_grad_custom_pre_pass``): a depthwise convolution becomes a sum over its taps.

    cuDNN reads a map and writes a map; the norm and the activation behind it read and write it again. As a sum of shifted,
    scaled maps the convolution is pointwise: Inductor puts all three into one kernel, which reads once and writes once. Sums
    are in float32 and rounded once, as cuDNN's are.

    For inference only: a training step keeps the convolution's output anyway. Convolutions with more than nine taps or another
    dtype stay as they are.

    Args:
        devices: types of devices whose graphs are changed.
        dtypes: of the input.

    >>> from torch.fx.experimental.proxy_tensor import make_fx
    >>> traced = make_fx(lambda x: torch.conv1d(x, torch.ones(8, 1, 3), groups=8), tracing_mode="fake")(torch.ones(1, 8, 5))
    >>> SmallConvolutions(("cpu",), (torch.float32,))(traced.graph, is_inference=True)
    >>> any("convolution" in str(node.target) for node in traced.graph.nodes)
    False
    """

    def __init__(self, devices: tuple[str, ...] = ("cuda",), dtypes: tuple[torch.dtype, ...] = HALF) -> None:
        self.devices, self.dtypes = devices, dtypes

    def __call__(self, graph: fx.Graph, is_inference: bool = False) -> None:
        for node in graph.find_nodes(op="call_function", target=aten.convolution.default):
            if is_inference and self._fits(node):
                _replace(graph, node)

    def _fits(self, node: fx.Node) -> bool:
        arguments: Any = node.args
        x, weight = (argument.meta["val"] for argument in arguments[:2])
        transposed, groups = arguments[6], arguments[8]
        return (
            x.device.type in self.devices
            and x.dtype in self.dtypes
            and not transposed
            and all(type(size) is int for size in x.shape[2:])  # a size that is a symbol is no padding
            and weight.shape[0] == groups == x.shape[1]
            and weight.shape[1] == 1
            and math.prod(weight.shape[2:]) <= TAPS
        )

    def uuid(self) -> Any:
        return passes.get_hash_for_files((__file__,), f"{self.devices}{self.dtypes}")


def _replace(graph: fx.Graph, node: fx.Node) -> None:
    """Writes the sum over taps in place of a convolution."""
    arguments: Any = node.args
    x, weight, bias, stride, padding, dilation = arguments[:6]
    value, kernel = x.meta["val"], weight.meta["val"]
    exact = torch.promote_types(value.dtype, torch.float32)

    def call(function: Callable[..., Any], *args: Any) -> fx.Node:
        new = graph.call_function(function, args)
        with value.fake_mode:
            new.meta["val"] = function(*(a.meta["val"] if isinstance(a, fx.Node) else a for a in args))
        return new

    with graph.inserting_before(node):
        total = None
        for taps in product(*map(range, kernel.shape[2:])):
            pads: list[int] = []
            tap_weight = call(aten.select.int, weight, 1, 0)
            for axis, tap in enumerate(taps):
                before = padding[axis] - tap * dilation[axis]
                span = (node.meta["val"].shape[2 + axis] - 1) * stride[axis] + 1
                pads[:0] = [before, span - value.shape[2 + axis] - before]
                tap_weight = call(aten.select.int, tap_weight, 1, tap)
            part = call(aten.constant_pad_nd.default, x, pads) if any(pads) else x
            for axis, step in enumerate(stride):
                part = call(aten.slice.Tensor, part, 2 + axis, 0, part.meta["val"].shape[2 + axis], step) if step > 1 else part
            for _ in taps:
                tap_weight = call(aten.unsqueeze.default, tap_weight, -1)
            wide = (call(prims.convert_element_type.default, factor, exact) for factor in (part, tap_weight))
            part = call(aten.mul.Tensor, *wide)
            total = part if total is None else call(aten.add.Tensor, total, part)
        out = call(prims.convert_element_type.default, total, value.dtype)
        if bias is not None:
            out = call(aten.add.Tensor, out, call(aten.view.default, bias, [-1] + [1] * len(stride)))
    out.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(out)
    graph.erase_node(node)
