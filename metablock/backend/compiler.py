"""Compilation: one graph whose repeated blocks are compiled once, or a graph for each distinct block."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MetablockError
from ..kernels import fusion, store_depthwise
from ..lowering.ir import ModuleCall, Subgraph, Value, free_values, subgraphs
from .block import Block, space_of
from .memory_format import canonical, gains, store_channels_last
from .outline import outline, plain
from .ways import WAYS


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


def _single_operators(module: nn.Module) -> Iterator[nn.Module]:
    """The operators outside of all regions: sections and downsamplings of one operator alone."""
    for child in module.children():
        if isinstance(child, Block):
            if not child.region:
                yield from _single_operators(child)
        elif isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _single_operators(child)
        elif not isinstance(child, nn.RNNBase):
            yield child


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
    way: str | None = None,
    freeze: bool = False,
    fused: bool | None = None,
    channels_last: bool | None = None,
    tune: bool | Tensor | Sequence[Tensor] = False,
    fullgraph: bool = True,
    dynamic: bool = False,
    **options: Any,
) -> nn.Module:
    """Compiles a built model in place and returns it.

    The model remains an ordinary module: it can be copied and saved (copies are eager until compiled again), trained and hooked.

    Args:
        model: from :func:`metablock.build`.
        way: how the network becomes graphs. None is ``"nested"``; ``"regions"`` for a network that torch has no single graph for
            (an lstm, a gru, a loop along a sequence); ``"whole"`` with ``freeze``, with products ``fused`` and with another
            backend than Inductor, which may know no nested regions.

            ``"nested"``: one graph. What repeated blocks have between their first and their last product (matrix product,
            convolution, attention) is compiled once; between the products of two blocks everything is fused. A training step is
            compiled as with ``"whole"``: torch's nested regions have wrong gradients.

            ``"whole"``: one graph in which each block is compiled anew. Compiling takes longer.

            ``"regions"``: a graph for each distinct block, stem, head; the code between them stays eager. A pass enters each
            of them anew, at some tenths of a millisecond each.
        freeze: one graph, for inference only: weights become constants of it, folded and packed. It takes effect under
            ``torch.no_grad``; later changes of the weights have no effect. Blocks are compiled as with ``"whole"``.
        fused: on a GPU, put activations, scales and residual sums into the matrix products before them, and small depthwise
            convolutions into what stands behind them. Inductor then measures kernels for each size of product, which takes
            longer to compile. None: the convolutions always, the products in the modes that measure (``max-autotune``).
        channels_last: whether kernels of convolutions are first stored channels-last (same values, other strides), so that maps
            lie so, too; False leaves kernels and, on a GPU, maps as they are. None: by the rule of
            :func:`metablock.backend.memory_format.gains`.
        tune: measure the ways to compile on the model's device, in the mode that it is in, and take the fastest; ``model.tuned``
            is the table. True: with one random example; otherwise the inputs to measure with, which fix batch and size. Other
            arguments that are given do not vary. The choice is kept on disk, by network, device, version of torch and inputs;
            ``METABLOCK_CACHE=0`` switches that off.
        fullgraph: treat a graph break as an error.
        dynamic: make sizes symbols in the graphs; by default another batch size compiles further graphs.
        options: further arguments of ``torch.compile`` (``mode``, ``backend``, ``options``).

    Raises:
        MetablockError: an unknown ``way``; ``freeze`` for a model in train mode, or with another way than a single graph; a
            single full graph of a model with an lstm or gru; the compiler's cache cannot be written to.

    >>> import metablock
    >>> model = metablock.build("resnet18", edits=["depth = [1, 1, 1, 1]"], input=(3, 32, 32)).eval()
    >>> with torch.no_grad():
    ...     metablock.compile(model, backend="eager")(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 1000])
    """
    if way not in (None, *WAYS):
        raise MetablockError(f"no way to compile is called '{way}'", f"there are {', '.join(WAYS)}")
    inductor = options.get("backend", "inductor") == "inductor"
    if inductor:
        _check_cache()
    if freeze and model.training:
        raise MetablockError("a model in train mode cannot be frozen", "call .eval() first")
    if freeze and way not in (None, "whole"):
        raise MetablockError(f"what is frozen is compiled whole, not '{way}'", "leave out `way`")
    if tune is not False:
        from .tune import compile_tuned

        ways = {"way": way, "freeze": freeze or None, "channels_last": channels_last, "fused": fused}
        return compile_tuned(model, tune, **ways, fullgraph=fullgraph, dynamic=dynamic, **options)
    last = gains(model) if channels_last is None else channels_last
    if last:
        store_channels_last(model)
    if freeze:
        options["options"] = {"freezing": True, **options.get("options", {})}
    products = fused or (fused is None and "max-autotune" in (options.get("mode") or ""))
    if inductor and _device_type(model) == "cuda":
        options = _gpu_options(model, options, fused is not False, products)
        if not last:  # Inductor by itself brings all maps of a graph with convolutions into channels-last memory
            options["options"] = {"layout_optimization": False, **options.get("options", {})}
    plain(model)
    way = way or default_way(model, nested=inductor and not freeze and not products)
    if way == "regions":
        _compile_regions(model, fullgraph=fullgraph, dynamic=dynamic, **options)
        return model
    if fullgraph and any(isinstance(module, nn.RNNBase) for module in model.modules()):
        hint = "compile it by regions, the default, or with fullgraph=False"
        raise MetablockError("torch's compiler has no graph for an lstm or gru, which runs in kernels of its own", hint)
    if way == "nested":
        outline(model)
    model.compile(fullgraph=fullgraph, dynamic=dynamic, **options)
    if way == "nested":
        model._compiled_call_impl = _NestedCall(model, {"fullgraph": fullgraph, "dynamic": dynamic, **options})
    return model


class _NestedCall:
    """Calls the graph with nested regions of a network. What torch cannot nest is compiled whole; a warning says why."""

    def __init__(self, model: nn.Module, options: Mapping[str, Any]) -> None:
        self.model, self.options, self.call = model, options, model._compiled_call_impl

    def __call__(self, *args: Any, **named: Any) -> Any:
        try:
            return self.call(*args, **named)  # type: ignore[misc]
        except Exception as problem:
            reason = nesting_problem(problem)
            if reason is None:
                raise
        warnings.warn(f"compiled whole: torch cannot nest a part of this network: {reason}", stacklevel=2)
        plain(self.model)
        self.model.compile(**self.options)
        return self.model(*args, **named)


def nesting_problem(problem: BaseException) -> str | None:
    """What torch says of a region that it cannot nest, in a line; None for any other problem.

    >>> nesting_problem(RuntimeError("The invoke_subgraph HigherOrderOperator does not support this.\\n  More."))
    'The invoke_subgraph HigherOrderOperator does not support this.'
    >>> nesting_problem(ValueError("no")) is None
    True
    """
    lines = [line.strip() for line in str(problem).splitlines()]
    about = [line for line in lines if "invoke_subgraph" in line or "igher order op" in line or "HOPs" in line]
    if not about:
        return None
    return next((line.removeprefix("Explanation:").strip() for line in lines if line.startswith("Explanation:")), about[0])


def default_way(model: nn.Module, nested: bool = True) -> str:
    """The way of :func:`compile` where none is chosen; without ``nested``, of those that other compilers than Inductor know.

    >>> import metablock
    >>> default_way(metablock.build("resnet18", device="meta"))
    'nested'
    """
    return "regions" if any(map(_recurrent, model.modules())) else "nested" if nested else "whole"


def _compile_regions(model: nn.Module, **options: Any) -> None:
    """Compiles each distinct unit, and each operator that is a section of its own."""
    compiled: dict[type[nn.Module], Callable[..., Any]] = {}
    for unit in units(model):
        cls = type(unit)
        if cls not in compiled:
            compiled[cls] = torch.compile(cls.enter, **options)  # type: ignore[attr-defined]
        unit._compiled_call_impl = partial(_enter, compiled[cls], unit)
    for leaf in _single_operators(model):
        enter = space_of("def enter(self, *args):\n    return call(self, *args)\n", "<metablock operator>")["enter"]
        leaf._compiled_call_impl = partial(_enter, torch.compile(enter, **options), leaf)


def _gpu_options(model: nn.Module, options: Mapping[str, Any], convolutions: bool, products: bool) -> dict[str, Any]:
    """The arguments of ``torch.compile`` on a GPU, with fusion into products and small depthwise convolutions or without."""
    from .inductor import gpu_arguments  # it imports Inductor, which takes seconds

    options = gpu_arguments(options, products)
    if convolutions:
        store_depthwise(model)
        options = fusion(options, products)
    return options


def _device_type(model: nn.Module) -> str:
    return next(iter(model.parameters()), torch.empty(0)).device.type


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


def _enter(function: Callable[..., Any], region: nn.Module, *args: Any) -> Any:
    """Calls a region's graph with canonical strides, so that all copies of a block share one graph."""
    return function(region, *[canonical(a) for a in args])
