"""Settings of TorchInductor for GPUs: what it keeps in registers, and random numbers that are drawn together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch._inductor import list_mode_options
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

# Inductor writes a value that several read to memory if computing it again takes more reads or operations than this, by default 4
# and 30; and any value of more than 8 reads. A batch norm and the GELU behind it take 5 reads and 40 operations: what stood
# between was written, in float32, and read twice. Sums of residual connections need the low bounds: see `WrittenSums`.
_BOUNDS = {"realize_reads_threshold": 16, "realize_opcount_threshold": 100, "realize_acc_reads_threshold": 32}

_aten = torch.ops.aten


def gpu_arguments(arguments: Mapping[str, Any], products: bool = False) -> dict[str, Any]:
    """The arguments of ``torch.compile`` with our settings for GPUs; what the caller sets stays.

    Args:
        arguments: ``mode`` and ``options`` among them. Another backend than Inductor gets them as they are.
        products: whether matrix products take in what stands behind them. Then Inductor keeps its own bounds: a product can add
            to a residual stream only if the stream is in memory.

    >>> settings = gpu_arguments({"mode": "reduce-overhead"})["options"]
    >>> settings["realize_reads_threshold"], settings["triton.cudagraphs"]
    (16, True)
    """
    if arguments.get("backend", "inductor") != "inductor":
        return dict(arguments)
    rest = dict(arguments)
    mode, own = rest.pop("mode", None), rest.pop("options", None) or {}  # torch takes one of both
    passes = {"joint_custom_pre_pass": MergedDraws(), "post_grad_custom_post_pass": WrittenSums()}
    return rest | {"options": {**({} if products else _BOUNDS), **passes, **_of_mode(mode), **own}}


def _of_mode(mode: str | None) -> dict[str, Any]:
    return dict(list_mode_options(mode)) if mode else {}


class WrittenSums(CustomGraphPass):
    """Writes sums that several read, those of residual connections, to memory.

    A sum that is not written is read as all its summands by every norm behind it. What a convolution reads is
    written anyway, in the order that Inductor chooses for it.
    """

    least = 2**16

    def __call__(self, graph: fx.Graph) -> None:
        """Changes a graph of ATen operators in place."""
        for node in graph.find_nodes(op="call_function", target=_aten.add.Tensor):
            if len(node.users) > 1 and self._counts(node):
                _write(graph, node)

    def _counts(self, node: fx.Node) -> bool:
        val, summands = node.meta.get("val"), node.args
        if not isinstance(val, torch.Tensor) or not all(isinstance(extent, int) for extent in val.shape):
            return False
        if val.numel() < self.least or any(user.target is _aten.convolution.default for user in node.users):
            return False
        asked = any(user.op == "output" or user.target is _aten.as_strided.default for user in node.users)
        if asked and not (val.is_contiguous() or _channels_last(val)):
            return False  # these ask for the order that it has
        return all(isinstance(x, fx.Node) and getattr(x.meta.get("val"), "shape", None) == val.shape for x in summands)

    def uuid(self) -> Any:
        """Names this code in the keys of Inductor's caches."""
        return get_hash_for_files((__file__,))


def _write(graph: fx.Graph, node: fx.Node) -> None:
    """Has a value written: Inductor does so where something reads it by strides, which here change nothing."""
    summed, uses, val = node, list(node.users), node.meta["val"]
    with graph.inserting_after(node):
        whole = node
        last = not val.is_contiguous() and _channels_last(val)
        if last:
            node = graph.call_function(_aten.permute.default, (node, [0, 2, 3, 1]))
            whole, val = node, val.permute(0, 2, 3, 1)
            node.meta = {**summed.meta, "val": val}
    with graph.inserting_after(whole):
        if last or not val.is_contiguous():
            whole = graph.call_function(_aten.clone.default, (node,), {"memory_format": torch.contiguous_format})
            val = val.contiguous()
            whole.meta = {**node.meta, "val": val}
    where = list(val.shape), list(val.stride())
    with graph.inserting_after(whole):
        view = graph.call_function(_aten.as_strided.default, (whole, *where))
    view.meta = {**node.meta, "val": val.as_strided(*where)}
    if last:
        with graph.inserting_after(view):
            back = graph.call_function(_aten.permute.default, (view, [0, 3, 1, 2]))
        back.meta = {**view.meta, "val": view.meta["val"].permute(0, 3, 1, 2)}
        view = back
    for use in uses:
        use.replace_input_with(summed, view)


def _channels_last(x: torch.Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


class MergedDraws(CustomGraphPass):
    """Draws the uniform numbers of a graph together: one kernel a step, where each ``drop_path`` had its own.

    Each use gets numbers of its own, as before. Large draws stay apart: they are computed where they are used.
    """

    most = 2**16

    def __call__(self, graph: fx.Graph) -> None:
        """Changes a graph of ATen operators in place."""
        groups: dict[Any, list[fx.Node]] = defaultdict(list)
        for node in graph.find_nodes(op="call_function", target=_aten.rand.default):
            (size,) = node.args
            if all(isinstance(extent, int) for extent in size) and math.prod(size) <= self.most:
                groups[tuple(sorted(node.kwargs.items(), key=str))].append(node)
        for nodes in groups.values():
            if len(nodes) > 1:
                _merge(graph, nodes)

    def uuid(self) -> Any:
        """Names this code in the keys of Inductor's caches."""
        return get_hash_for_files((__file__,))


def _merge(graph: fx.Graph, nodes: list[fx.Node]) -> None:
    """Replaces draws by parts of a common one."""
    first, sizes = nodes[0], [list(node.args[0]) for node in nodes]  # type: ignore[arg-type]
    counts = [math.prod(size) for size in sizes]
    like = first.meta["val"]

    def call(function: Any, *args: Any, val: Any, **kwargs: Any) -> fx.Node:
        node = graph.call_function(function, args, kwargs)
        node.meta = {**first.meta, "val": val}
        return node

    start = 0
    with graph.inserting_before(first):
        every = call(_aten.rand.default, [sum(counts)], val=like.new_empty(sum(counts)), **first.kwargs)
        for node, size, count in zip(nodes, sizes, counts, strict=True):
            flat = every.meta["val"][start : start + count]
            part = call(_aten.slice.Tensor, every, 0, start, start + count, val=flat)
            shaped = call(_aten.view.default, part, size, val=flat.view(size))
            node.replace_all_uses_with(shaped)
            start += count
    for node in nodes:
        graph.erase_node(node)
