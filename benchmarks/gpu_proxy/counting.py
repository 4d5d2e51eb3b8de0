"""Counts what Inductor's graphs launch and move. Graphs are compiled whole, but instead of running they give empty outputs."""

from __future__ import annotations

import re
import sys
import types
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor import config, ir
from torch._inductor.graph import GraphLowering
from torch._inductor.scheduler import ExternKernelSchedulerNode, NopKernelSchedulerNode
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode

from . import products
from .device import BANDWIDTH, LAUNCH, PEAK_BF16, PEAK_FP32

# Operators that move nothing.
VIEWS = frozenset(
    name
    for line in (
        "device empty_strided new_empty_strided empty_like empty new_empty view _unsafe_view permute transpose t expand",
        "unsqueeze squeeze slice select split split_with_sizes chunk unbind detach alias as_strided _reshape_alias narrow unfold",
        "lift_fresh is_same_size sym_size sym_stride diagonal movedim",
    )
    for name in line.split()
)


@dataclass(frozen=True)
class Kernel:
    """One launch.

    Attributes:
        kind: ``"triton"``, or the function that is called.
        bytes, flops: what it reads and writes, and its operations.
        seconds: modelled: the larger of both over the device's limits, and at least a launch's time.
        constant: it reads weights alone: a copy or conversion that each pass repeats.
        size: of its outputs.
        origins: the operators that it computes.
    """

    kind: str
    bytes: int
    flops: float
    seconds: float
    constant: bool
    size: str
    origins: str

    @property
    def triton(self) -> bool:
        return self.kind == "triton"


@dataclass
class Graph:
    """One graph of Inductor's: its launches, and how often it was called since the last :meth:`Recorder.restart`.

    Attributes:
        backward: whether it is a backward's.
        kernels: the launches of a call, those of repeated regions repeated.
        regions: the number of distinct nested regions.
        saved: bytes of its outputs: of a forward in training, what is saved and returned.
        converted: whether Inductor brought convolutions into channels-last memory.
        why_no_cuda_graph: Inductor's reason not to replay it as a CUDA graph; None: it can be.
        mutates: whether it writes to an input.
    """

    backward: bool
    kernels: list[Kernel]
    regions: int = 0
    saved: int = 0
    converted: bool = False
    why_no_cuda_graph: str | None = None
    mutates: bool = False
    devices: tuple[str, ...] = ()
    calls: int = 0


@dataclass
class Eager:
    """Operators that run between graphs."""

    counts: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, name: str, size: int) -> None:
        self.counts[name] += 1
        self.bytes[name] += size
        self.seconds += max(size / BANDWIDTH, LAUNCH)


class Recorder:
    """Counts the launches of what :meth:`running` runs. It replaces parts of Inductor for good: one is enough for a process.

    Args:
        mode: of :func:`benchmarks.gpu_proxy.device.install`.
        save: a folder for the code that Inductor writes.

    Attributes:
        graphs: every graph that was compiled.
        eager: the operators between graphs.
        copied: the number and bytes of gradients that a backward copies first, since their strides are not the traced ones.
    """

    def __init__(self, mode: FakeTensorMode, save: Path | None = None) -> None:
        self.mode, self.save = mode, save
        self.on = False
        self.clear()
        self._static: tuple[int, ...] = ()
        self._install()

    def clear(self) -> None:
        """Forgets all graphs, and what torch has compiled."""
        torch._dynamo.reset()
        self.graphs: list[Graph] = []
        self.restart()

    def restart(self) -> None:
        """Counts from zero; graphs stay compiled."""
        self.eager, self.copied = Eager(), [0, 0]
        for graph in self.graphs:
            graph.calls = 0

    def running(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of a function whose launches are counted."""
        self.on = True
        try:
            return function(*args)
        finally:
            self.on = False

    def _install(self) -> None:
        import torch._functorch._aot_autograd.runtime_wrappers as runtime_wrappers
        import torch._inductor.compile_fx as compile_fx
        import torch._inductor.output_code as output_code
        import torch._inductor.utils as utils

        config.force_disable_caches, config.compile_threads = True, 1
        config.shape_padding = config.triton.autotune_at_compile_time = False
        products.install()
        module: Any
        for module in (utils, compile_fx, output_code):
            if hasattr(module, "align_inputs_from_check_idxs"):  # it looks at addresses
                module.align_inputs_from_check_idxs = lambda model, *args, **kwargs: model

        runtime: Any = runtime_wrappers
        fakes: Any = FakeTensorMode
        compiler: Any = compile_fx._InProcessFxCompile
        lowering: Any = GraphLowering
        coerce, dispatch, compile_graph = runtime.coerce_to_expected_memory_format, fakes.dispatch, compiler.codegen_and_compile

        def counted_coerce(x: Tensor, form: object) -> Tensor:
            with self.mode:
                y = coerce(x, form)
            if y is not x and self.on:
                self.copied[0] += 1
                self.copied[1] += 2 * x.numel() * x.element_size()
            return y

        def counted_dispatch(mode: Any, function: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
            was, self.on = self.on, False
            try:
                result = dispatch(mode, function, types_, args, kwargs)
            finally:
                self.on = was
            if was and hasattr(function, "overloadpacket") and function.overloadpacket.__name__ not in VIEWS:
                tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
                self.eager.add(function.overloadpacket.__name__, sum(t.numel() * t.element_size() for t in tensors))
            return result

        def counted_compile(this: Any, module: Any, examples: Any, checks: Any, options: Any) -> Any:
            self._static = tuple(options.get("static_input_idxs", ()) or ())
            return compile_graph(this, module, examples, checks, options)

        runtime.coerce_to_expected_memory_format = counted_coerce
        fakes.dispatch = counted_dispatch
        compiler.codegen_and_compile = counted_compile
        lowering._compile_to_module = lambda graph: self._module(graph)

    def _module(self, lowering: GraphLowering) -> Any:
        """Stands for the module of a graph's generated code: it counts a call and gives empty outputs."""
        text = None
        if self.save is not None:
            text = lowering.codegen()[0].value
        else:  # fusion is done here; the text is not needed for counting
            lowering.init_wrapper_code()
            lowering._update_scheduler()
        graph, outputs = self._graph(lowering), _outputs(lowering)
        if self.save is not None and text is not None:
            self.save.mkdir(parents=True, exist_ok=True)
            suffix = "_backward" if graph.backward else ""
            (self.save / f"graph_{len(self.graphs):03d}{suffix}.py").write_text(text, encoding="utf-8")
            launches = len(re.findall(r"^\s+\w+\.run\(", text, re.MULTILINE))
            print(f"graph {len(self.graphs)}: {launches} launches of Triton kernels in the text", file=sys.stderr)
        self.graphs.append(graph)

        def call(args: list[Any]) -> tuple[Any, ...]:
            graph.calls += 1
            args.clear()
            was, self.on = self.on, False
            try:
                with self.mode:
                    return tuple(
                        value if value is None or value == 1 else torch.empty_strided(*value[:2], **value[2]) for value in outputs
                    )
            finally:
                self.on = was

        return types.SimpleNamespace(call=call, __file__=__file__)

    def _graph(self, lowering: GraphLowering) -> Graph:
        names, backward = list(lowering.graph_input_names), bool(lowering.is_backward)
        weights = set() if backward else {names[i] for i in self._static if i < len(names)}
        nested: set[int] = set()
        kernels = list(_kernels(lowering, weights | set(lowering.constants), nested))
        fresh = {
            output.get_name(): _bytes(output)
            for output in lowering.graph_outputs
            if not isinstance(output, (ir.NoneAsConstantBuffer, ir.ShapeAsConstantBuffer))
        }
        return Graph(
            backward=backward,
            kernels=kernels,
            regions=len(nested),
            saved=sum(
                size for name, size in fresh.items() if name not in lowering.graph_inputs and name not in lowering.constants
            ),
            converted=bool(lowering.layout_opt),
            why_no_cuda_graph=lowering.disable_cudagraphs_reason,
            mutates=bool(lowering.mutated_inputs),
            devices=tuple(sorted(map(str, lowering.device_types))),
        )


def _outputs(lowering: GraphLowering) -> list[Any]:
    """What the graph gives: None, the number 1 for a size, or a tensor's size, strides and further arguments."""
    result: list[Any] = []
    for output in lowering.graph_outputs:
        if isinstance(output, ir.NoneAsConstantBuffer):
            result.append(None)
        elif isinstance(output, ir.ShapeAsConstantBuffer):
            result.append(1)
        else:
            size, stride = (tuple(map(int, numbers)) for numbers in (output.get_size(), output.get_stride()))
            result.append((size, stride, {"dtype": output.get_dtype(), "device": output.get_device()}))
    return result


def _kernels(lowering: GraphLowering, constant: Collection[str], nested: set[int]) -> Iterator[Kernel]:
    """The launches of a graph, in order.

    Args:
        lowering: a graph that has been scheduled.
        constant: the names of what every call gets alike: weights, constants.
        nested: takes the ids of the nested regions' graphs.
    """
    steady = set(constant)
    for node in lowering.scheduler.nodes:
        if isinstance(node, NopKernelSchedulerNode):
            continue
        extern = isinstance(node, ExternKernelSchedulerNode)
        if extern and isinstance(node.node, ir.MultiOutput):
            continue
        if extern and isinstance(node.node, ir.InvokeSubgraph):
            yield from _nested(node.node, steady, nested)
            continue
        reads, outputs = {read.name for read in node.read_writes.reads}, node.get_outputs()
        names = {output.get_name() for output in outputs}
        kind = str(getattr(node.node, "python_kernel_name", "") or type(node.node).__name__) if extern else "triton"
        random = "rand" in str(getattr(node.node, "python_kernel_name", "")) or any("seed" in name for name in reads)
        repeated = reads <= steady and not names & steady and not random
        if repeated:
            steady |= names
        if not extern and not outputs:
            continue
        size, flops = node.get_read_write_buffers_sizes(), node.estimate_flops() or 0
        if extern:
            flops = _flops(kind, node) or flops
        dtype = outputs[0].node.maybe_get_dtype() if outputs else None
        peak = PEAK_FP32 if dtype == torch.float32 and extern else PEAK_BF16
        if node.is_template():
            peak *= products.TEMPLATE
        yield Kernel(
            kind, size, flops, max(size / BANDWIDTH, flops / peak, LAUNCH), repeated, _sizes(outputs), ",".join(_origins(node))
        )


def _nested(call: ir.InvokeSubgraph, steady: Collection[str], nested: set[int]) -> Iterator[Kernel]:
    """The launches of a call of a nested region."""
    assert call.subgraph is not None
    graph = call.subgraph.graph
    assert graph is not None
    names = [operand.get_name() if hasattr(operand, "get_name") else "" for operand in call.inputs]
    with V.set_graph_handler(graph), config.patch("graph_partition", False):
        if id(graph) not in nested and getattr(graph, "scheduler", None) is None:
            graph.init_wrapper_code()
            graph._update_scheduler()
        nested.add(id(graph))
        inner = {mine for mine, theirs in zip(graph.graph_input_names, names, strict=True) if theirs in steady}
        yield from _kernels(graph, inner | set(graph.constants), nested)


def _origins(node: Any) -> list[str]:
    """The operators that a scheduled node computes."""
    origins = (origin for part in node.get_nodes() if part.node for origin in part.node.get_origins())
    return sorted({str(getattr(origin, "target", origin)).removeprefix("aten.").split(".")[0] for origin in origins})


def _sizes(outputs: Sequence[Any]) -> str:
    """The sizes of the first outputs of a scheduled node."""
    shown = [
        str(tuple(map(int, output.node.get_size())))
        for output in outputs[:3]
        if hasattr(output.node, "get_size")
        and output.node.maybe_get_layout() is not None
        and not isinstance(output.node.layout, ir.MultiOutputLayout)
    ]
    return "; ".join(shown)


def _bytes(value: Any) -> int:
    return value.get_dtype().itemsize * prod(map(int, value.get_size()))


def _flops(kind: str, node: Any) -> int:
    """Operations of what Inductor's own estimate leaves out: a multiplication and an addition are two."""

    def size(value: Any) -> list[int]:
        return [int(extent) for extent in value.get_size()]

    inputs = [value for value in getattr(node.node, "inputs", []) if hasattr(value, "get_size")]
    if "convolution_backward" in kind:
        return 2 * 2 * prod(size(inputs[0])) * prod(size(inputs[2])[1:])
    if "convolution" in kind:
        return 2 * prod(size(node.node)) * prod(size(inputs[1])[1:])
    if "scaled_dot_product" in kind:
        backward = "backward" in kind
        q, k, v = (size(value) for value in inputs[backward : backward + 3])
        return int(2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3]) * (2.5 if backward else 1))
    return 0
