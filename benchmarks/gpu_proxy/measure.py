"""Counts one forward, or one forward and backward, of one model."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import metablock

from ..models import build, input_size, outputs
from . import attention
from .counting import Graph, Recorder

WAYS = ("default", "nested", "whole", "regions", "eager")


@dataclass(frozen=True)
class Job:
    """What to count.

    Attributes:
        model: a name of ``benchmarks.models.MODELS``, or another of either library.
        side: ``"ours"`` or ``"timm"``.
        way: how it is compiled: of ours a ``way`` of :func:`metablock.compile`; of timm's always as one graph, or eager.
        mode: ``"infer"`` or ``"train"``.
        batch: the number of images.
        size: height and width; None: the model's own.
        channels_last: whether weights and images lie channels-last.
        drop: the rate of stochastic depth in training.
        autocast: weights in float32, autocast to bfloat16; otherwise all is bfloat16.
        edits: of our spec.
        fused: of :func:`metablock.compile`: whether products and small convolutions take in what stands behind them.
        kernels: whether :func:`metablock.compile` stores kernels channels-last: ``"rule"``, ``"last"`` or ``"built"``: not.
    """

    model: str
    side: str = "ours"
    way: str = "default"
    mode: str = "infer"
    batch: int = 64
    size: int | None = None
    channels_last: bool = False
    drop: float = 0.0
    autocast: bool = False
    edits: tuple[str, ...] = ()
    fused: bool | None = None
    kernels: str = "rule"

    @property
    def how(self) -> str:
        """The way and the settings that differ from the usual ones: ``"nested+cl+drop0.1"``."""
        parts = [
            self.way,
            *["cl"] * self.channels_last,
            *["kernels-" + self.kernels] * (self.kernels != "rule"),
            *["fused" if self.fused else "unfused"] * (self.fused is not None),
            *["amp"] * self.autocast,
            *[f"drop{self.drop:g}"] * bool(self.drop),
        ]
        return "+".join([*parts, *self.edits])


def count(job: Job, recorder: Recorder) -> dict[str, Any]:
    """Compiles a model on the made-up device and counts its third pass.

    Args:
        job: what to count.
        recorder: takes the counts.

    Returns:
        By name: ``graphs``, ``entries`` (of compiled functions, a pass), ``host_launches`` (``triton``, ``extern``, and ``glue``:
        eager operators), ``GB_total``, ``saved_GB`` (of training, for the backward), ``gpu_ms`` (modelled), and details.
    """
    torch.manual_seed(0)
    recorder.clear()
    attention.CHOICES.clear()
    train = job.mode == "train"
    real = build(job.model, job.side, train=train, drop=job.drop, edits=job.edits)
    dtype = torch.float32 if job.autocast else torch.bfloat16
    size = job.size or input_size(real)
    model = faked(real, dtype, recorder.mode, job.channels_last)
    with recorder.mode:
        x = torch.empty(job.batch, 3, size, size, dtype=dtype, device="cuda")
        if job.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
    run = _compiled(model, job)
    started = time.perf_counter()
    _step(model, run, x, job, recorder)
    first = time.perf_counter() - started
    _step(model, run, x, job, recorder)  # a second pass may compile once more: sizes that changed
    compiled, choices = len(recorder.graphs), attention.CHOICES.copy()
    recorder.restart()
    _step(model, run, x, job, recorder)
    if len(recorder.graphs) != compiled:
        raise RuntimeError(f"{job.model}: the third pass compiled again")
    return _result(job, size, recorder, choices, first)


def _compiled(model: nn.Module, job: Job) -> Callable[[Tensor], Any]:
    if job.way == "eager":
        return model
    if job.side == "timm":
        return torch.compile(model)
    options: dict[str, Any] = {} if job.kernels == "rule" else {"channels_last": job.kernels == "last"}
    if job.fused is not None:
        options["fused"] = job.fused
    return metablock.compile(model, way=None if job.way == "default" else job.way, **options)


def _step(model: nn.Module, run: Callable[[Tensor], Any], x: Tensor, job: Job, recorder: Recorder) -> None:
    """One pass, and its backward in training; what makes a loss of the outputs is not counted."""
    autocast = torch.autocast("cuda", torch.bfloat16) if job.autocast else contextlib.nullcontext()
    if job.mode == "infer":
        with torch.no_grad(), autocast:
            recorder.running(run, x)
        return
    with autocast:
        result = recorder.running(run, x)
    loss = sum(t.float().square().mean() for t in outputs(result))
    recorder.running(loss.backward)  # type: ignore[union-attr]
    model.zero_grad(set_to_none=True)


def faked(model: nn.Module, dtype: torch.dtype, mode: FakeTensorMode, channels_last: bool = False) -> nn.Module:
    """The model with its weights and buffers as tensors on the made-up device. What is shared stays shared."""
    known: dict[int, tuple[Tensor, Tensor]] = {}

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in known:
            stride = tensor.stride()
            if channels_last and tensor.dim() == 4:
                stride = torch.empty(tensor.shape, device="meta").to(memory_format=torch.channels_last).stride()
            kind = dtype if tensor.is_floating_point() else tensor.dtype
            with mode:
                copy = torch.empty_strided(tensor.size(), stride, dtype=kind, device="cuda")
            if isinstance(tensor, nn.Parameter):
                copy = nn.Parameter(copy, requires_grad=tensor.requires_grad)
            known[id(tensor)] = copy, tensor  # the original lives on, so that its id stays its own
        return known[id(tensor)][0]

    for module in model.modules():
        every: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in every:
            tensors.update({name: fake(tensor) for name, tensor in tensors.items() if tensor is not None})
    return model


def _result(job: Job, size: int, recorder: Recorder, choices: Counter[str], seconds: float) -> dict[str, Any]:
    graphs, eager = recorder.graphs, recorder.eager

    def total(value: Callable[[Graph], float]) -> float:
        return sum(value(graph) * graph.calls for graph in graphs)

    extern: Counter[str] = Counter()
    rows: dict[tuple[str, str, str], list[float]] = {}
    for graph in graphs:
        for kernel in graph.kernels:
            if not kernel.triton:
                extern[kernel.kind.replace("torch.ops.", "").replace("extern_kernels.", "")] += graph.calls
            kind = "backward " * graph.backward + kernel.kind + " of weights" * kernel.constant
            row = rows.setdefault((kind, kernel.size, kernel.origins[:140]), [0.0, 0, 0.0])
            row[0] += 1e3 * kernel.seconds * graph.calls
            row[1] += graph.calls
            row[2] += kernel.bytes * graph.calls / 1e6
    triton = int(total(lambda g: sum(k.triton for k in g.kernels)))
    own = total(lambda g: sum(k.bytes for k in g.kernels if k.triton)) / 1e9
    called = total(lambda g: sum(k.bytes for k in g.kernels if not k.triton)) / 1e9
    glue = sum(eager.bytes.values()) / 1e9
    return {
        "model": job.model,
        "side": job.side,
        "how": job.how,
        "mode": job.mode,
        "batch": job.batch,
        "size": size,
        "torch": torch.__version__,
        "graphs": len(graphs),
        "regions": sum(graph.regions for graph in graphs),
        "entries": int(total(lambda g: 1)),
        "host_launches": triton + extern.total() + eager.counts.total(),
        "triton": triton,
        "extern": extern.total(),
        "externs": dict(extern.most_common()),
        "glue": eager.counts.total(),
        "glues": dict(eager.counts.most_common()),
        "glue_MB": {name: round(size / 1e6, 2) for name, size in eager.bytes.most_common()},
        "grad_copies": recorder.copied[0],
        "grad_copies_MB": recorder.copied[1] / 1e6,
        "GB_total": own + called + glue,
        "GB_triton": own,
        "GB_extern": called,
        "glue_GB": glue,
        "const_kernels": int(total(lambda g: sum(k.constant for k in g.kernels))),
        "const_MB": total(lambda g: sum(k.bytes for k in g.kernels if k.constant)) / 1e6,
        "saved_GB": total(lambda g: 0 if g.backward else g.saved) / 1e9 if job.mode == "train" else 0.0,
        "gflop": total(lambda g: sum(k.flops for k in g.kernels)) / 1e9,
        "gpu_ms": 1e3 * (total(lambda g: sum(k.seconds for k in g.kernels)) + eager.seconds),
        "layout_opt": sum(graph.converted for graph in graphs),
        "sdpa": dict(choices),
        "devices": sorted({device for graph in graphs for device in graph.devices}),
        "no_cudagraph": sorted({str(graph.why_no_cuda_graph) for graph in graphs}),
        "mutating_graphs": sum(graph.mutates for graph in graphs),
        "codegen_s": round(seconds, 1),
        "rows": [
            [round(milliseconds, 4), calls, round(megabytes, 2), *key]
            for key, (milliseconds, calls, megabytes) in sorted(rows.items(), key=lambda item: -item[1][0])[:80]
        ],
    }
