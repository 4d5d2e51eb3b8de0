"""Compilation by region: one graph for each distinct block, however often it is repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MetablockError
from ..lowering.ir import ModuleCall, Subgraph, Value, free_values, subgraphs
from .block import Block


def regions(module: nn.Module) -> Iterator[Block]:
    """The parts that are compiled as units: stem, downsampling, blocks, ends, head, lines of `model`; outermost only."""
    for _, region in _regions(module, ()):
        yield region


def _regions(module: nn.Module, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Block]]:
    if isinstance(module, Block) and module.region:
        yield path, module
        return
    for name, child in module.named_children():
        yield from _regions(child, (*path, name))


def distinct(model: nn.Module) -> int:
    """How many different regions a model has, by what they compute and at what sizes: the graphs that it needs for one mode.

    What is used at several sizes (a network in two passes) is as many.
    """
    root = getattr(model, "ir", None)
    if not isinstance(root, Subgraph):
        return len({type(region) for region in regions(model)})
    every, graphs = dict(subgraphs(root)), set()
    uses = _uses(every)
    for path, region in _regions(model, ()):
        around = [uses[path[:end]] for end in range(1, len(path)) if path[:end] in uses]
        graphs |= {(type(region), sizes) for sizes in product(*around, uses.get(path) or {_sizes(free_values(every[path]))})}
    return len(graphs)


_Sizes = tuple[tuple[int, ...], ...]


def _uses(every: Mapping[tuple[str, ...], Subgraph]) -> dict[tuple[str, ...], set[_Sizes]]:
    """The sizes at which the parts are used that are used more than once, by their paths."""
    uses: dict[tuple[str, ...], set[_Sizes]] = {}
    for above, level in every.items():
        for step in [*level.steps, *level.prediction_steps]:
            if isinstance(step, ModuleCall) and step.shared:
                path = step.child if step.root else (*above, *step.child)
                first = {_sizes(free_values(every[path]))} if path in every else set()
                uses.setdefault(path, first).add(_sizes(step.inputs))
    return uses


def _sizes(given: Iterable[Value]) -> _Sizes:
    return tuple(wire.feature.size() for wire in given)


def compile(
    model: nn.Module,
    *,
    whole: bool = False,
    freeze: bool = False,
    fullgraph: bool = True,
    dynamic: bool = False,
    **options: Any,
) -> nn.Module:
    """Compiles a built model in place and returns it.

    Each distinct region becomes one graph that all its copies run, with their own weights. What joins the regions stays
    eager. The model remains an ordinary module: it can be copied and saved (copies are eager until compiled again),
    trained, hooked. On the CPU the kernels of convolutions are brought into channels-last memory first (same values, other
    strides), so that no region converts what it takes and gives.

    Args:
        model: from :func:`metablock.build`.
        whole: the network becomes a single graph: longer to compile, and each pass is spared the entry into every region
            (some tenths of a millisecond each), which counts where the passes are short.
        freeze: as ``whole``, for inference only: weights are constants of the graph, folded and packed. Takes effect under
            ``torch.no_grad``; later changes of the weights are not seen.
        fullgraph: a graph break is an error.
        dynamic: whether sizes are symbols in the graphs; by default another batch size makes further graphs.
        options: further arguments of ``torch.compile`` (``mode``, ``backend``, ``options``).

    Raises:
        MetablockError: ``freeze`` for a model in train mode.
    """
    if next(iter(model.parameters()), torch.empty(0)).device.type == "cpu":
        _channels_last(model)
    if freeze:
        if model.training:
            raise MetablockError("a model in train mode cannot be frozen\n  call .eval() first")
        options["options"] = {"freezing": True, **options.get("options", {})}
    if whole or freeze:
        model.compile(fullgraph=fullgraph, dynamic=dynamic, **options)
        return model
    compiled: dict[type[Block], Callable[..., Any]] = {}
    for region in regions(model):
        cls = type(region)
        if cls not in compiled:
            compiled[cls] = torch.compile(cls.enter, fullgraph=fullgraph, dynamic=dynamic, **options)  # type: ignore[attr-defined]
        region._compiled_call_impl = partial(_enter, compiled[cls], region)
    return model


def _channels_last(model: nn.Module) -> None:
    """Inductor's convolutions on the CPU want it so; otherwise every region converts at its borders, and every use a kernel."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            module.weight.data = module.weight.data.contiguous(memory_format=_FORMATS[module.weight.dim()])


_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _enter(function: Callable[..., Any], region: Block, *args: Any) -> Any:
    """Copies of a block see the same strides, whatever made their input, and so share one graph."""
    return function(region, *[_settled(a) for a in args])


def _settled(value: Any) -> Any:
    if isinstance(value, Tensor) and not value.is_contiguous() and value.dim() in _FORMATS:
        return value.contiguous(memory_format=_FORMATS[value.dim()])
    return value
