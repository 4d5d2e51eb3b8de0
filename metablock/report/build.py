"""Builds a network, counts it, compiles it, runs it, and reports what happened."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from ..api import assemble, example, state_of
from ..backend import costs
from ..backend.block import Block
from ..backend.device import parse_device, parse_dtype
from ..backend.limits import MAX_ELEMENTS
from ..backend.tune import Tuning
from ..errors import MetablockError
from ..front import Front
from ..language.format import spec_hash
from ..language.spec import Spec
from ..lowering.ir import Subgraph, flat_values
from ..passes.reparameterize import reparameterize
from ..shape import Feature
from ..weights.loading import State, WeightsError, load_weights
from ..writers.outputs import check_output, write
from ..writers.torch_export import check_dynamic
from . import figures
from .layout import LayoutPart, parts
from .measure import PhaseWatch, device_errors, measure
from .models import AttemptRow, BuildReport, Deployed, Figures, MergedLayer, PartRow, Timings, Totals, Tuned
from .options import BuildOptions, lowered


@dataclass(frozen=True)
class Stored:
    """Weights that were read, the input size that they were trained on, and whose names they have; None where that is unknown.

    >>> Stored(None).arguments()
    {'weights': None, 'weights_input': None, 'names': None}
    """

    state: State | None
    input: str | None = None
    names: str | None = None

    def arguments(self) -> dict[str, Any]:
        """By the arguments of :func:`metablock.api.assemble`."""
        return {"weights": self.state, "weights_input": self.input, "names": self.names}


def build_report(
    options: BuildOptions,
    *,
    weights: str | None = None,
    weights_input: str | None = None,
    names: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    compiled: bool = True,
    tune: bool = False,
    seed: int = 0,
    batch: int = 1,
    output: str | None = None,
    dynamic: str | None = None,
    reparameterized: bool = False,
    progress: PhaseWatch = lambda phase: None,
) -> BuildReport:
    """Builds a network, runs it, and writes it to ``output``. Whatever can be refused is refused before any work.

    Args:
        options: the network.
        weights: a file or a place that :func:`metablock.build` takes as ``weights``; with ``reparameterized`` of either form.
        weights_input: the input size that they were trained on, if they do not say it: ``"3x288x512"``.
        names: whose names they have; by default those that fit best.
        device: where it runs; on ``"meta"`` nothing runs, and the report has parts and costs alone.
        dtype: of the weights and the input, by name.
        compiled: whether the network is compiled before it runs.
        tune: whether the ways to compile it are measured first, and the fastest is taken.
        seed: of the initial weights and of the random input.
        batch: the number of examples in a pass.
        output: a file that the network is written to, by its suffix (see :func:`metablock.write`).
        dynamic: the sizes that stay open in that file, separated by commas: ``"batch,height"``.
        reparameterized: whether the network is re-parameterised first (see :func:`metablock.reparameterize`).
        progress: called with each phase.

    Raises:
        MetablockError: with a text for the person who asked.

    >>> report = build_report(BuildOptions("resnet18"), device="meta")
    >>> report.totals.parameters, report.totals.macs
    (11689512, 1814073344)
    """
    place, kind = parse_device(device), parse_dtype(dtype)
    if place.type == "meta" and (output or weights):
        raise MetablockError("there are no weights on 'meta'", "leave out --device meta, or --weights and --output")
    if tune and (not compiled or place.type == "meta"):
        raise MetablockError(
            "--tune measures compiled networks", "leave out " + ("--device meta" if compiled else "--no-compile")
        )
    sizes = parse_dynamic(dynamic, output)
    if output is not None:
        check_output(output, sizes)
    progress("checking")
    spec, ir = lowered(options)
    check_dynamic(spec, [wire.feature for wire in flat_values(ir.inputs)], sizes)
    stored = Stored(state_of(weights, spec) if weights is not None else None, weights_input, names)

    progress("counting")
    bare = assemble(spec, ir, device="meta")
    if not options.large:
        _refuse_large(bare.inputs, batch)
    macs = figures.macs(Front(spec, ir))
    before = macs[""]
    if reparameterized:
        progress("re-parameterising")
        bare = reparameterize(bare.eval())
        macs = costs.macs(bare, *example(bare))

    progress("building")
    started = time.perf_counter()
    if place.type == "meta":
        model = bare.eval()
    else:
        with device_errors(place, kind, "building"):
            if reparameterized:
                model = _reparameterized(spec, ir, stored, place, kind, seed)
            else:
                model = assemble(spec, ir, **stored.arguments(), device=place, dtype=kind, seed=seed).eval()
    built = time.perf_counter() - started

    checked = None
    if output is not None:  # before the model is compiled, which may take minutes
        progress("writing")
        checked = write(model, output, dynamic=sizes) or None
    run = measure(model, compiled=compiled, tune=tune, seed=seed, batch=batch, progress=progress)
    return BuildReport(
        name=spec.name,
        variant=spec.variant,
        title=spec.paper.get("title"),
        edits=options.changes,
        spec_hash=spec_hash(spec),
        inputs=tuple(feature.size(batch) for feature in model.inputs),
        outputs=run.outputs,
        device=_device_name(place),
        dtype=dtype,
        batch=batch,
        seed=seed,
        rows=tuple(_row(part, bare, macs, batch) for part in parts(bare.ir)),
        totals=_totals(bare, macs),
        figures=_figures(spec, edited=bool(options.changes), reparameterized=reparameterized),
        graphs=run.graphs,
        seconds=Timings(build=built, compile=run.compiling, latency=run.latency, passes=run.passes),
        tuned=_tuned(run.tuning) if run.tuning is not None else None,
        weights=str(model.loaded) if model.loaded is not None else None,
        written=output,
        checked=checked,
        deployed=_deployed(model, (before, macs[""])) if reparameterized else None,
    )


def parse_dynamic(text: str | None, output: str | None) -> tuple[str, ...]:
    """The names of the sizes that stay open in a written file.

    Args:
        text: names separated by commas; None: all sizes are fixed.
        output: the file that is written.

    Raises:
        MetablockError: sizes are to stay open, but no file is written.

    >>> parse_dynamic("batch, height,batch", "net.pt2")
    ('batch', 'height')
    """
    if text is None:
        return ()
    if output is None:
        raise MetablockError("--dynamic is about a file that is written", "add -o net.pt2 or -o net.onnx")
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def _reparameterized(spec: Spec, ir: Subgraph, stored: Stored, place: torch.device, kind: torch.dtype, seed: int) -> Block:
    """The re-parameterised network. The weights are those of the training form, or else those of the re-parameterised one."""
    try:
        return reparameterize(assemble(spec, ir, **stored.arguments(), device=place, dtype=kind, seed=seed).eval())
    except WeightsError as wrong:
        first = wrong
    model = reparameterize(assemble(spec, ir, device=place, dtype=kind, seed=seed).eval())
    assert stored.state is not None
    try:
        model.loaded = load_weights(model, stored.state, spec, stored.names, input=stored.input)
    except WeightsError as second:  # report the form that more tensors fit
        raise (second if len(second.report.used) > len(first.report.used) else first) from None
    return model


def _tuned(tuning: Tuning) -> Tuned:
    attempts = [(one, one.candidate) for one in tuning.attempts]
    rows = [
        AttemptRow(
            way=way.way,
            channels_last=way.channels_last,
            mode=way.mode,
            fused=way.fused,
            seconds=one.seconds,
            compiling=one.compiling,
            failure=one.failure,
        )
        for one, way in attempts
    ]
    return Tuned(rows=tuple(rows), recalled=tuning.recalled)


def _deployed(model: Block, macs: tuple[int, int]) -> Deployed:
    report = model.collapsed
    merged = [MergedLayer(path=one.path, into=one.into, parts=dict(one.parts)) for one in report.collapsed]
    return Deployed(merged=tuple(merged), params=report.params, macs=macs, difference=report.difference)


def _totals(model: Block, macs: dict[str, int]) -> Totals:
    trainable, frozen = costs.parameters(model)
    return Totals(parameters=trainable + frozen, trainable=trainable, frozen=frozen, macs=macs[""])


def _refuse_large(inputs: Sequence[Feature], batch: int) -> None:
    """Caps the batch. The network itself is capped when it is lowered."""
    elements = sum(prod(feature.size(batch)) for feature in inputs)
    if elements > MAX_ELEMENTS:
        raise MetablockError(
            f"a batch of {batch:,} has {elements:,} numbers; at most {MAX_ELEMENTS:,}", "--large lifts the limit"
        )


def _device_name(place: torch.device) -> str:
    return f"{place} ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place)


def _row(part: LayoutPart, model: Block, macs: dict[str, int], batch: int) -> PartRow:
    path = ".".join(part.path)
    return PartRow(
        name=part.name,
        path=path,
        text=part.text,
        names=dict(part.names),
        output=tuple(map(str, part.output)),
        shapes=tuple(feature.size(batch) for feature in part.output),
        parameters=sum(costs.parameters(model.get_submodule(path))),
        macs=macs.get(path, 0),
    )


def _figures(spec: Spec, *, edited: bool, reparameterized: bool) -> Figures | None:
    facts = spec.facts.of(spec.variant or spec.name)
    if not facts:
        return None
    exact: dict[str, int | str] = {
        key: int(cell) if cell.isdigit() and key != "input" else cell for key, cell in facts.items() if "." not in key
    }
    if reparameterized:
        exact |= {"params": exact.get("deployed", "-"), "macs": "-"}
    reported = {key.removeprefix("reported."): cell for key, cell in facts.items() if key.startswith("reported.")}
    return Figures(variant=spec.variant or spec.name, edited=edited, exact=exact, reported=reported)


__all__ = ["build_report", "parse_dynamic"]
