"""Compilation by region: one graph per distinct block, however often the block is repeated."""

from __future__ import annotations

import os
import tempfile
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
    """The outermost compile regions of a module: stem, downsampling, blocks, ends, head, lines of `model:`."""
    for _, region in _regions(module, ()):
        yield region


def _regions(module: nn.Module, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Block]]:
    if isinstance(module, Block) and module.region:
        yield path, module
        return
    for name, child in module.named_children():
        yield from _regions(child, (*path, name))


def units(module: nn.Module) -> Iterator[Block]:
    """What :func:`compile` makes graphs of: the regions; of one that holds a recurrence, the largest parts that hold none.

    Recurrent layers of torch's stay outside: their own kernels (cuDNN) run between the graphs. So does the loop of a ``scan``,
    whose step is a graph that each position enters.
    """
    for _, unit in _units(module, ()):
        yield unit


def _units(module: nn.Module, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Block]]:
    for place, region in _regions(module, path):
        yield from _closed(region, place)


def _closed(block: nn.Module, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Block]]:
    """The largest blocks of a module, itself included, that hold no recurrence."""
    if isinstance(block, Block) and not any(map(_recurrent, block.modules())):
        yield path, block
    elif not isinstance(block, nn.RNNBase):
        for name, child in block.named_children():
            yield from _closed(child, (*path, name))


def _recurrent(module: nn.Module) -> bool:
    return isinstance(module, nn.RNNBase) or (isinstance(module, Block) and module._loops)


def distinct(model: nn.Module) -> int:
    """Number of graphs that torch.compile produces per mode: distinct pairs of code and input sizes.

    A region used at k sizes (a network in two passes) counts k times.

    >>> import metablock
    >>> distinct(metablock.build("vit_small_patch16_224", device="meta"))  # stem, block, head
    3
    """
    root = getattr(model, "ir", None)
    if not isinstance(root, Subgraph):
        return len({type(unit) for unit in units(model)})
    every, graphs = dict(subgraphs(root)), set()
    uses = _uses(every)
    for path, region in _units(model, ()):
        around = [uses[path[:end]] for end in range(1, len(path)) if path[:end] in uses]
        graphs |= {(type(region), sizes) for sizes in product(*around, uses.get(path) or {_sizes(free_values(every[path]))})}
    return len(graphs)


_Sizes = tuple[tuple[int, ...], ...]


def _uses(every: Mapping[tuple[str, ...], Subgraph]) -> dict[tuple[str, ...], set[_Sizes]]:
    """By path, the input sizes at which each shared part is called."""
    uses: dict[tuple[str, ...], set[_Sizes]] = {}
    for above, subgraph in every.items():
        for step in subgraph.all_steps:
            if isinstance(step, ModuleCall) and step.shared and not step.weight:
                path = step.child if step.root else (*above, *step.child)
                first = {_sizes(free_values(every[path]))} if path in every else set()
                uses.setdefault(path, first)
                if step.loop is None:
                    uses[path].add(_sizes(step.inputs))
    return uses


def _sizes(values: Iterable[Value]) -> _Sizes:
    return tuple(value.feature.size() for value in values)


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

    Each distinct compile region becomes one graph; all its copies run that graph with their own weights. The code between
    regions stays eager. The model remains an ordinary module: it can be copied and saved (copies are eager until compiled
    again), trained and hooked. On the CPU, convolution kernels are first stored channels-last (same values, other strides), so
    that regions need not convert their inputs and outputs.

    Args:
        model: from :func:`metablock.build`.
        whole: compile the network as a single graph. Compiling takes longer; each pass saves the entry into every region (some
            tenths of a millisecond each), which matters where passes are short.
        freeze: like ``whole``, for inference only: weights become constants of the graph, folded and packed. It takes effect
            under ``torch.no_grad``; later changes of the weights have no effect.
        fullgraph: treat a graph break as an error.
        dynamic: make sizes symbols in the graphs; by default another batch size compiles further graphs.
        options: further arguments of ``torch.compile`` (``mode``, ``backend``, ``options``).

    Raises:
        MetablockError: ``freeze`` for a model in train mode; a single full graph of a model with an lstm or gru; the
            compiler's cache cannot be written to.

    >>> import metablock
    >>> model = metablock.build("resnet18", edits=["depth = [1, 1, 1, 1]"], input=(3, 32, 32)).eval()
    >>> with torch.no_grad():
    ...     metablock.compile(model, backend="eager")(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 1000])
    """
    if options.get("backend", "inductor") == "inductor":
        _check_cache()
    device = next(iter(model.parameters()), torch.empty(0)).device.type
    if device == "cpu":
        _channels_last(model)
    elif device == "cuda":
        from .inductor import gpu_arguments  # imports much of torch

        options = gpu_arguments(options)
    if freeze:
        if model.training:
            raise MetablockError("a model in train mode cannot be frozen", "call .eval() first")
        options["options"] = {"freezing": True, **options.get("options", {})}
    if whole or freeze:
        if fullgraph and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            hint = "compile it region by region, the default, or with fullgraph=False"
            raise MetablockError("torch's compiler has no graph for an lstm or gru, which runs in kernels of its own", hint)
        model.compile(fullgraph=fullgraph, dynamic=dynamic, **options)
        return model
    compiled: dict[type[Block], Callable[..., Any]] = {}
    for unit in units(model):
        cls = type(unit)
        if cls not in compiled:
            compiled[cls] = torch.compile(cls.enter, fullgraph=fullgraph, dynamic=dynamic, **options)  # type: ignore[attr-defined]
        unit._compiled_call_impl = partial(_enter, compiled[cls], unit)
    return model


def _check_cache() -> None:
    """Raises MetablockError if Inductor cannot write the code that it compiles."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if folder is None:
        return
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as wrong:
        message = f"the compiler cannot write to '{folder}': {wrong.strerror}"
        raise MetablockError(message, "TORCHINDUCTOR_CACHE_DIR names a folder that can be written to") from None


def _channels_last(model: nn.Module) -> None:
    """Stores kernels channels-last, as Inductor's CPU convolutions want them; otherwise every call converts its kernel."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            module.weight.data = module.weight.data.contiguous(memory_format=_FORMATS[module.weight.dim()])


_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _enter(function: Callable[..., Any], region: Block, *args: Any) -> Any:
    """Calls a region's graph with canonical strides, so that all copies of a block share one graph."""
    return function(region, *[_canonical(a) for a in args])


def _canonical(value: Any) -> Any:
    """A tensor with contiguous or channels-last strides."""
    if isinstance(value, Tensor) and not value.is_contiguous() and value.dim() in _FORMATS:
        return value.contiguous(memory_format=_FORMATS[value.dim()])
    return value
