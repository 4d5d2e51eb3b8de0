"""Builds a network, counts it, compiles it, runs it, and says what happened."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..api import assemble, example, state_of
from ..backend import costs
from ..backend.block import Block
from ..backend.compiler import compile, distinct
from ..backend.limits import MAX_ELEMENTS
from ..errors import MetablockError, suggest
from ..front import Front, front, resolved
from ..language.format import spec_hash
from ..language.spec import Spec
from ..lowering.ir import Subgraph, flat_values
from ..passes.reparameterize import reparameterize
from ..shape import Feature
from ..weights.loading import State, WeightsError, load_weights
from ..writers.outputs import check_output, write
from ..writers.torch_export import check_dynamic
from .check import named_source
from .layout import LayoutPart, parts
from .models import BuildReport, Deployed, Figures, Graphs, Merged, PartRow, Timings, Totals

DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Enough passes for a median, but no more than so many seconds of them.
PASSES, PATIENCE = 5, 3.0

Progress = Callable[[str], None]


@dataclass(frozen=True)
class BuildOptions:
    """Which network is meant: a source (a catalogue name, a path, ``-``) and what is changed in it."""

    source: str
    variant: str | None = None
    edits: Sequence[str] = ()
    classes: int | None = None
    input: str | None = None
    large: bool = False

    @property
    def edited(self) -> bool:
        return bool(self.edits) or self.classes is not None or self.input is not None


def chosen(choice: BuildOptions) -> Front:
    """The resolved spec of a choice, and its IR. Raises MetablockError: SpecError for what is wrong in the spec."""
    return front(
        named_source(choice.source),
        variant=choice.variant,
        edits=choice.edits,
        classes=choice.classes,
        input=choice.input,
        large=choice.large,
    )


def network(choice: BuildOptions) -> Spec:
    """The resolved spec of a choice. Raises MetablockError as :func:`chosen` does, except for what is wrong with shapes."""
    return resolved(
        named_source(choice.source), variant=choice.variant, edits=choice.edits, classes=choice.classes, input=choice.input
    )


def on_meta(spec: Spec, level: Subgraph) -> Block:
    """The network without its numbers; nothing is allocated."""
    return assemble(spec, level, device="meta")


def build_report(
    choice: BuildOptions,
    *,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    compiled: bool = True,
    seed: int = 0,
    batch: int = 1,
    output: str | None = None,
    dynamic: str | None = None,
    deploy: bool = False,
    progress: Progress = lambda phase: None,
) -> BuildReport:
    """Builds what was chosen, runs it, writes it where ``output`` says. Everything that can be refused is refused first.

    With ``deploy`` it is re-parameterised; given weights may then be those of either form. On the device ``meta`` nothing
    runs: the report has the parts and the counts.

    Raises:
        MetablockError: with a text for the person who chose.
    """
    place, kind = parse_device(device), parse_dtype(dtype)
    if place.type == "meta" and (output or weights):
        raise MetablockError("there are no weights on 'meta'\n  leave out --device meta, or --weights and --output")
    names = parse_dynamic(dynamic, output)
    if output is not None:
        check_output(output, names)
    progress("checking")
    spec, level = chosen(choice)
    check_dynamic(spec, [wire.feature for wire in flat_values(level.inputs)], names)
    state = state_of(weights, spec) if weights is not None else None

    progress("counting")
    bare = on_meta(spec, level)
    if not choice.large:
        _refuse_large(bare.inputs, batch)
    macs = costs.macs(bare, *example(bare))
    trained = macs[""]
    if deploy:
        progress("re-parameterising")
        bare = reparameterize(bare.eval())
        macs = costs.macs(bare, *example(bare))

    progress("building")
    started = time.perf_counter()
    if place.type == "meta":
        model = bare
    else:
        with _asked_of(place, dtype, "building"):
            if deploy:
                model = _deployed(spec, level, state, place, kind, seed)
            else:
                model = assemble(spec, level, weights=state, device=place, dtype=kind, seed=seed).eval()
    built = time.perf_counter() - started

    checked = None
    if output is not None:  # before the model is compiled, which may take minutes
        progress("writing")
        checked = write(model, output, dynamic=names) or None
    outputs, times, graphs = first_pass(model, place, dtype, compiled, seed, batch, built, progress)
    return BuildReport(
        name=spec.name,
        variant=spec.variant,
        title=spec.paper.get("title"),
        edits=_edits(choice),
        spec_hash=spec_hash(spec),
        inputs=tuple(feature.size(batch) for feature in model.inputs),
        outputs=outputs,
        device=_named(place),
        dtype=dtype,
        batch=batch,
        seed=seed,
        rows=tuple(_row(part, bare, macs, batch) for part in parts(bare.ir)),
        totals=_totals(bare, macs),
        figures=_figures(spec, choice.edited, deploy),
        graphs=graphs,
        seconds=times,
        weights=str(model.loaded) if model.loaded is not None else None,
        written=output,
        checked=checked,
        deployed=_collapsed(model, (trained, macs[""])) if deploy else None,
    )


def _deployed(spec: Spec, level: Subgraph, state: State | None, place: torch.device, kind: torch.dtype, seed: int) -> Block:
    """The re-parameterised network. The weights are those of the form that is trained, or else of this one."""
    first: WeightsError | None = None
    try:
        return reparameterize(assemble(spec, level, weights=state, device=place, dtype=kind, seed=seed).eval())
    except WeightsError as wrong:
        first = wrong
    model = reparameterize(assemble(spec, level, device=place, dtype=kind, seed=seed).eval())
    assert state is not None
    try:
        model.loaded = load_weights(model, state, spec)
    except WeightsError as second:
        raise (second if len(second.report.used) > len(first.report.used) else first) from None
    return model


def _collapsed(model: Block, macs: tuple[int, int]) -> Deployed:
    report = model.collapsed
    merged = [Merged(path=one.path, into=one.into, parts=dict(one.parts)) for one in report.collapsed]
    return Deployed(merged=tuple(merged), params=report.params, macs=macs, difference=report.difference)


def parse_device(text: str) -> torch.device:
    """A device that is here. Raises MetablockError."""
    try:
        device = torch.device(text)
    except RuntimeError:
        raise MetablockError(f"unknown device '{text}'\n  write cpu, cuda, cuda:1, mps or meta") from None
    if device.type in ("cpu", "meta"):
        return device
    try:
        torch.empty(0, device=device)
    except Exception:  # each back-end has an exception of its own
        here = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
        raise MetablockError(f"there is no device '{text}' here\n  there is: {', '.join(['cpu', *here])}") from None
    return device


def parse_dtype(text: str) -> torch.dtype:
    """A type of floating-point numbers. Raises MetablockError."""
    if text not in DTYPES:
        hint = suggest(text, DTYPES, f"there are {', '.join(DTYPES)}")
        raise MetablockError(f"unknown dtype '{text}'\n  {hint}")
    return DTYPES[text]


def parse_dynamic(text: str | None, output: str | None) -> tuple[str, ...]:
    """The sizes that stay open in a file. Raises MetablockError."""
    if text is None:
        return ()
    if output is None:
        raise MetablockError("--dynamic is about a file that is written\n  add -o net.pt2 or -o net.onnx")
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def _totals(model: Block, macs: dict[str, int]) -> Totals:
    trainable, frozen = costs.parameters(model)
    return Totals(parameters=trainable + frozen, trainable=trainable, frozen=frozen, macs=macs[""])


def _refuse_large(inputs: Sequence[Feature], batch: int) -> None:
    """The network itself is capped where it is shaped; a batch is asked for here only."""
    elements = sum(prod(feature.size(batch)) for feature in inputs)
    if elements > MAX_ELEMENTS:
        raise MetablockError(
            f"a batch of {batch:,} has {elements:,} numbers; at most {MAX_ELEMENTS:,}\n  --allow-large lifts the limit"
        )


@contextmanager
def _asked_of(place: torch.device, dtype: str, doing: str) -> Iterator[None]:
    """What the machine cannot do is the answer to a person's request, not an accident: no traceback."""
    try:
        yield
    except (RuntimeError, MemoryError, NotImplementedError) as problem:
        first = next(iter(str(problem).strip().splitlines()), type(problem).__name__)
        if isinstance(problem, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(problem):
            raise MetablockError(f"{doing} takes more memory than {place} has\n  lower --batch or --input") from None
        hint = "--no-compile runs it without torch.compile" if doing == "compiling" else "try --device cpu --dtype float32"
        raise MetablockError(f"{doing} failed on {place} in {dtype}: {first}\n  {hint}") from None


def first_pass(
    model: Block, place: torch.device, dtype: str, compiled: bool, seed: int, batch: int, built: float, progress: Progress
) -> tuple[tuple[tuple[int, ...], ...], Timings, Graphs]:
    """A first pass, with compilation in it, and timed ones."""
    torch.manual_seed(seed)
    compiling: float | None = None
    latency: float | None = None
    passes, made = 0, None
    with torch.no_grad(), _asked_of(place, dtype, "the forward pass"):
        inputs = example(model, batch)
        if compiled and place.type != "meta":
            progress("compiling")
            with _asked_of(place, dtype, "compiling"):
                output, compiling, made = _compile(model, inputs, place)
        else:
            progress("running")
            output = model(*inputs)
        if place.type != "meta":
            progress("measuring")
            latency, passes = _latency(model, inputs, place)
    times = Timings(build=built, compile=compiling, latency=latency, passes=passes)
    return tuple(_shapes(output)), times, Graphs(distinct=distinct(model), made=made)


def _compile(model: Block, inputs: list[Tensor], place: torch.device) -> tuple[Any, float, int]:
    from torch._dynamo.utils import counters

    before, started = counters["stats"]["unique_graphs"], time.perf_counter()
    output = compile(model)(*inputs)
    _wait(place)
    return output, time.perf_counter() - started, counters["stats"]["unique_graphs"] - before


def _latency(model: Block, inputs: list[Tensor], place: torch.device) -> tuple[float, int]:
    seconds: list[float] = []
    while not seconds or (len(seconds) < PASSES and sum(seconds) < PATIENCE):
        started = time.perf_counter()
        model(*inputs)
        _wait(place)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), len(seconds)


def _wait(place: torch.device) -> None:
    if place.type != "cpu":
        torch.accelerator.synchronize(place)


def _named(place: torch.device) -> str:
    return f"{place} ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place)


def _shapes(value: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(value, Tensor):
        yield tuple(value.shape)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _shapes(item)
    elif isinstance(value, dict):
        yield from _shapes(list(value.values()))


def _row(part: LayoutPart, model: Block, macs: dict[str, int], batch: int) -> PartRow:
    path = ".".join(part.path)
    return PartRow(
        name=part.name,
        path=path,
        text=part.text,
        output=tuple(map(str, part.output)),
        shapes=tuple(feature.size(batch) for feature in part.output),
        parameters=sum(costs.parameters(model.get_submodule(path))),
        macs=macs.get(path, 0),
    )


def _figures(spec: Spec, edited: bool, deploy: bool) -> Figures | None:
    facts = spec.facts.of(spec.variant or spec.name)
    if not facts:
        return None
    exact: dict[str, int | str] = {
        key: int(cell) if cell.isdigit() and key != "input" else cell for key, cell in facts.items() if "." not in key
    }
    if deploy:
        exact |= {"params": exact.get("deployed", "-"), "macs": "-"}
    reported = {key.removeprefix("reported."): cell for key, cell in facts.items() if key.startswith("reported.")}
    return Figures(variant=spec.variant or spec.name, edited=edited, exact=exact, reported=reported)


def _edits(choice: BuildOptions) -> tuple[str, ...]:
    more = [f"classes = {choice.classes}"] if choice.classes is not None else []
    more += [f"input = {choice.input}"] if choice.input is not None else []
    return (*choice.edits, *more)


__all__ = ["DTYPES", "BuildOptions", "build_report", "chosen", "on_meta", "parse_device", "parse_dtype", "parse_dynamic"]
