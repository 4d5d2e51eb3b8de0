"""Depthwise convolutions with few taps become arithmetic, which Inductor fuses with the operators behind them."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import torch
from torch import Tensor, fx
from torch._inductor import custom_graph_pass as passes
from torch._inductor import ir, virtualized
from torch._inductor.lowering import register_lowering

from .depthwise import TAPS

HALF = (torch.bfloat16, torch.float16)

# Older releases of torch do not say whether a graph is for inference: there the pass changes nothing.
_Pass: Any = getattr(passes, "CustomInferenceAwareGraphPass", passes.CustomGraphPass)


class SmallConvolutions(_Pass):
    """A pass over Inductor's graphs (``post_grad_custom_pre_pass``): a small depthwise convolution becomes a sum over its taps.

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
    >>> any("convolution.default" in str(node.target) for node in traced.graph.nodes)
    False
    """

    def __init__(self, devices: tuple[str, ...] = ("cuda",), dtypes: tuple[torch.dtype, ...] = HALF) -> None:
        self.devices, self.dtypes = devices, dtypes

    def __call__(self, graph: fx.Graph, is_inference: bool = False) -> None:
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.convolution.default):
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
            and all(type(size) is int for size in x.shape[2:])
            and weight.shape[0] == groups == x.shape[1]
            and weight.shape[1] == 1
            and math.prod(weight.shape[2:]) <= TAPS
        )

    def uuid(self) -> Any:
        return passes.get_hash_for_files((__file__,), f"{self.devices}{self.dtypes}")


def _replace(graph: fx.Graph, node: fx.Node) -> None:
    """Writes our operator in place of a convolution; the bias is added to its output."""
    arguments: Any = node.args
    x, weight, bias, stride, padding, dilation = arguments[:6]
    with graph.inserting_before(node):
        out = graph.call_function(_sum.default, (x, weight, stride, padding, dilation))
        out.meta = dict(node.meta)
        if bias is not None:
            column = graph.call_function(torch.ops.aten.view.default, (bias, [-1] + [1] * len(stride)))
            column.meta["val"] = bias.meta["val"].view([-1] + [1] * len(stride))
            out = graph.call_function(torch.ops.aten.add.Tensor, (out, column))
            out.meta = dict(node.meta)
    node.replace_all_uses_with(out)
    graph.erase_node(node)


_LIBRARY = torch.library.Library("metablock", "FRAGMENT")
_LIBRARY.define("depthwise_sum(Tensor x, Tensor weight, SymInt[] stride, SymInt[] padding, SymInt[] dilation) -> Tensor")
_sum: Any = torch.ops.metablock.depthwise_sum


@torch.library.impl(_LIBRARY, "depthwise_sum", "CompositeExplicitAutograd")
def _plain(x: Tensor, weight: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    """The same in plain PyTorch, and the shape of the output; Inductor's graphs run what is below."""
    wide = torch.promote_types(x.dtype, torch.float32)
    zero = [0] * len(stride)
    x, weight, dtype = x.to(wide), weight.to(wide), x.dtype
    return torch.ops.aten.convolution(x, weight, None, stride, padding, dilation, False, zero, len(weight)).to(dtype)


@register_lowering(_sum.default, type_promotion_kind=None)
def _lower(x: Any, weight: Any, stride: list[int], padding: list[int], dilation: list[int]) -> Any:
    """What a kernel of Inductor's computes for an output: the sum over taps of input by weight."""
    # What makes the input is computed once, into memory, not once a tap.
    x.realize()
    weight.realize()
    dtype, wide = x.get_dtype(), torch.promote_types(x.get_dtype(), torch.float32)
    (batch, channels, *size), window = x.get_size(), [int(extent) for extent in weight.get_size()[2:]]
    reach = [step * (extent - 1) for step, extent in zip(dilation, window, strict=True)]
    out = [(extent + 2 * pad - far - 1) // step + 1 for extent, pad, far, step in zip(size, padding, reach, stride, strict=True)]
    load, load_weight = x.make_loader(), weight.make_loader()

    def compute(index: Any) -> Any:
        image, channel, *place = index
        total = None
        for tap in product(*map(range, window)):
            first = [step * t - pad for step, t, pad in zip(dilation, tap, padding, strict=True)]
            where = [step * here + start for step, here, start in zip(stride, place, first, strict=True)]
            inside = []
            for axis, position in enumerate(where):
                if first[axis] < 0:
                    inside.append(virtualized.ops.ge(_number(position), _number(0)))
                if first[axis] + stride[axis] * (out[axis] - 1) >= size[axis]:
                    inside.append(virtualized.ops.lt(_number(position), _number(size[axis])))
            value = _where(inside, lambda at=where: load([image, channel, *at]))
            factor = virtualized.ops.to_dtype(load_weight([channel, 0, *tap]), wide)
            part = virtualized.ops.mul(virtualized.ops.to_dtype(value, wide), factor)
            total = part if total is None else virtualized.ops.add(total, part)
        return virtualized.ops.to_dtype(total, dtype)

    return ir.Pointwise.create(device=x.get_device(), dtype=dtype, inner_fn=compute, ranges=[batch, channels, *out])


def _number(expression: Any) -> Any:
    return virtualized.ops.index_expr(expression, torch.int64)


def _where(conditions: list[Any], load: Any) -> Any:
    """What is loaded where all conditions hold, 0 elsewhere."""
    if not conditions:
        return load()
    mask = conditions[0]
    for condition in conditions[1:]:
        mask = virtualized.ops.and_(mask, condition)
    return virtualized.ops.masked(mask, load, 0.0)
