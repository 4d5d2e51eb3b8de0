"""Settings of TorchInductor for GPUs: what it keeps in registers, and random numbers that are drawn together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch._inductor import list_mode_options
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.nn.modules.batchnorm import _BatchNorm

# Inductor writes a value that several read to memory if computing it again takes more reads or operations than a bound, by
# default 4 and 30. A batch norm and the GELU behind it take 5 and 40: what stood between was written, in float32, and read twice.
_BATCH_NORMS = {"realize_reads_threshold": 6, "realize_opcount_threshold": 100}
# Where layer norms read the sums of residual connections, few reads are better: a sum that is not written is read by every norm
# behind it as all its summands.
_LAYER_NORMS = {"realize_reads_threshold": 2}
_SHARE = 0.25  # of batch norms among the norms, from which on a network counts as one of the first kind

_aten = torch.ops.aten


def gpu_arguments(model: nn.Module, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``torch.compile`` with our settings for a model on a GPU; what the caller sets stays.

    Args:
        model: its norms say which bounds are better, by the bytes that the compiled graph moves.
        arguments: ``mode`` and ``options`` among them. Another backend than Inductor gets them as they are.

    >>> settings = gpu_arguments(nn.BatchNorm2d(3), {"mode": "reduce-overhead"})["options"]
    >>> settings["realize_reads_threshold"], settings["triton.cudagraphs"]
    (6, True)
    """
    if arguments.get("backend", "inductor") != "inductor":
        return dict(arguments)
    rest = dict(arguments)
    mode, own = rest.pop("mode", None), rest.pop("options", None) or {}  # torch takes one of both
    return rest | {"options": {**_bounds(model), "joint_custom_pre_pass": MergedDraws(), **_of_mode(mode), **own}}


def _bounds(model: nn.Module) -> dict[str, Any]:
    """From which number of reads and operations on a value is written to memory."""
    norms = [module for module in model.modules() if isinstance(module, (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm))]
    if not norms:
        return {}
    batch = sum(isinstance(norm, _BatchNorm) for norm in norms)
    return _BATCH_NORMS if batch >= _SHARE * len(norms) else _LAYER_NORMS


def _of_mode(mode: str | None) -> dict[str, Any]:
    return dict(list_mode_options(mode)) if mode else {}


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
