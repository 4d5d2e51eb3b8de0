"""Checkpoints under our names, and our weights under the names of other code: what ``metablock weights`` does."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open

from ..api import assemble, state_of
from ..errors import MetablockError
from ..files import Latch, replacing
from ..front import front
from ..language.edits import resolve
from ..language.format import show_weights
from ..language.load import load_text
from ..language.weight_rules import OURS
from ..weights.checkpoint import read_state
from ..weights.export_names import LAYOUT, export_state, read_layout
from ..weights.loading import load_weights
from ..weights.matching import propose
from ..weights.matching.units import COUNTER
from ..weights.report import WeightsError
from ..writers.outputs import check_output, save_tensors, write
from .options import BuildOptions, lowered

SUFFIXES = (".safetensors", ".pth")


def import_weights(
    source: str, options: BuildOptions, output: str, *, weights_input: str | None = None, names: str | None = None
) -> str:
    """Writes a checkpoint's weights under our names, with the resolved spec and their original names.

    Args:
        source: a file, or a place that :func:`metablock.build` takes as ``weights``.
        options: the network.
        output: a .safetensors file.
        weights_input: the input size that the checkpoint was trained on, if it does not say it.
        names: whose names it has; by default those that fit best.

    Returns:
        Which tensors were used, and how, in lines.

    Raises:
        MetablockError: the checkpoint does not fit, or the file cannot be written; then nothing is written.

    >>> import_weights("resnet18.pth", BuildOptions("resnet18"), "mine.pth")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: mine.pth: weights are kept in .safetensors files
      -o mine.safetensors
    """
    if Path(output).suffix != ".safetensors":
        raise MetablockError(f"{output}: weights are kept in .safetensors files", f"-o {Path(output).stem}.safetensors")
    check_output(output)
    spec, ir = lowered(options)
    model = assemble(spec, ir, weights=state_of(source, spec), weights_input=weights_input, names=names)
    write(model, output)
    return str(model.loaded)


def export_weights(
    options: BuildOptions,
    to: str,
    output: str,
    *,
    weights: str | None = None,
    weights_input: str | None = None,
    like: str | None = None,
) -> int:
    """Writes our weights under the names of other code.

    Args:
        options: the network; its source may be one of our .safetensors files, which holds its spec.
        to: a table of the spec's `weights:`: ``official``, ``timm``.
        output: a .safetensors or .pth file.
        weights: our weights; None: those of the file that is the source.
        weights_input: the input size that they were trained on, if they do not say it.
        like: a checkpoint of that code, whose names and shapes are used where ours do not determine them.

    Returns:
        The number of tensors written.

    Raises:
        MetablockError: weights that do not fit, unknown shapes, a file that cannot be written; then nothing is written.

    >>> export_weights(BuildOptions("resnet18"), "timm", "theirs.onnx")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: theirs.onnx: cannot write '.onnx' files here
      known: .safetensors, .pth
    """
    path = Path(output)
    if path.suffix not in SUFFIXES:
        raise MetablockError(f"{path}: cannot write '{path.suffix or path.name}' files here", f"known: {', '.join(SUFFIXES)}")
    check_output(path.with_suffix(".safetensors"))
    file = weights
    if options.source.endswith(".safetensors"):
        file = file or options.source
        about = _metadata(options.source)
        if "spec" not in about:
            raise MetablockError(f"{options.source}: holds no spec", "name one: weights export SPEC --weights FILE")
        spec, ir = front(resolve(load_text(about["spec"], options.source)), large=True)
    else:
        spec, ir = lowered(options)
        if file is None:
            raise MetablockError(f"whose weights of '{spec.name}'?", "give a file of ours: --weights FILE")
        about = _metadata(file) if Path(file).suffix == ".safetensors" and Path(file).is_file() else {}
    model = assemble(spec, ir, weights=state_of(file, spec), weights_input=weights_input)
    shapes = {**model.loaded.shapes} if model.loaded.source == to else {**read_layout(about.get(LAYOUT), to)}
    if like is not None:
        shapes |= {key: tuple(value.shape) for key, value in read_state(like).items() if isinstance(value, torch.Tensor)}
    state = export_state(model, spec, to, shapes)
    with replacing(path) as written:
        if path.suffix == ".safetensors":
            save_tensors({key: value.contiguous() for key, value in state.items()}, written, {"format": "pt"})
        else:
            with closing(Latch(written)) as latch:
                torch.save(state, latch)
    return len(state)


class RulesProposal(BaseModel):
    """``weights match``: rules for a checkpoint, and what is proved of them.

    Attributes:
        network: the spec's name, or its variant's.
        names: what the table is called.
        yaml: the section `weights` with it, as text.
        rules: from our names to those there, in order.
        ignore: what the table ignores.
        complete: whether a new network took the checkpoint by these rules.
        ours, theirs: how many tensors there are, counters left out.
        used: how many of ours were filled.
        unused: tensors there that no rule reads; masks and index tables among them.
        shared: tensors there that fill several of ours, with how many.
        by_order, by_names, by_count: ours whose partner shapes do not decide: the order of registration does, for layers that
            names do not tell apart; names, against the order; or the likeness of names, where the sides differ in number.
        missing, left: ours and theirs without partner.
        sorted: whether the file holds its tensors sorted by name, which says nothing of their order.
        fits_already: the spec's own rules that take the checkpoint, if some do.
        report: how the tensors were loaded, in lines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    network: str
    names: str
    yaml: str
    rules: dict[str, str]
    ignore: tuple[str, ...]
    complete: bool
    ours: int
    theirs: int
    used: int
    unused: tuple[str, ...]
    shared: dict[str, int]
    by_order: tuple[str, ...]
    by_names: tuple[str, ...]
    by_count: tuple[str, ...]
    missing: tuple[str, ...]
    left: tuple[str, ...]
    sorted: bool
    fits_already: str | None
    report: str


def match_weights(source: str, options: BuildOptions, names: str = "theirs") -> RulesProposal:
    """Proposes rules by which a network takes a checkpoint of other code, and loads it by them into a new network.

    Args:
        source: a file, or a place that :func:`metablock.build` takes as ``weights``.
        options: the network. Its own rules are not read, but for ``fits_already``.
        names: what the table of rules is called.

    Raises:
        MetablockError: a file that cannot be read, or holds no tensors; a name that no table can have.

    >>> match_weights("theirs.pth", BuildOptions("resnet18"), "ours")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: 'ours' are our own names, they need no rules
      name the table after whose names it has: --names timm
    """
    if names == OURS or not names.isidentifier() or names in ("of", "ignore"):
        message = f"'{OURS}' are our own names, they need no rules" if names == OURS else f"'{names}' names no table of rules"
        raise MetablockError(message, "name the table after whose names it has: --names timm")
    spec, ir = lowered(options)
    content = state_of(source, spec)
    model = assemble(spec, ir)
    proposal = propose(model, content, spec, names)
    pairing, table = proposal.pairing, proposal.table
    fits: str | None = None
    with suppress(WeightsError):
        fits = load_weights(assemble(spec, ir, device="meta"), content, spec).source
    try:
        report = load_weights(model, content, spec.with_(weights={names: table}), names)
    except WeightsError as wrong:
        report = wrong.report
    used = [name for name in report.used if not name.endswith(COUNTER)]
    return RulesProposal(
        network=spec.variant or spec.name,
        names=names,
        yaml=show_weights(spec.with_(weights={names: table})),
        rules={rule.ours: rule.theirs for rule in table.rules},
        ignore=table.ignore,
        complete=report.complete,
        ours=sum(not name.endswith(COUNTER) for name in model.state_dict()),
        theirs=sum(not name.endswith(COUNTER) for name in [*report.shapes, *report.unused]),
        used=len(used),
        unused=tuple(name for name in report.unused if not name.endswith(COUNTER)),
        shared=dict(proposal.shared),
        by_order=tuple(pairing.by_order),
        by_names=tuple(pairing.by_names),
        by_count=tuple(pairing.by_count),
        missing=tuple(pairing.ours),
        left=tuple(report.left),
        sorted=proposal.sorted,
        fits_already=fits,
        report=str(report),
    )


def _metadata(file: str) -> dict[str, str]:
    try:
        if not Path(file).is_file():  # a pipe would be waited for
            raise FileNotFoundError(file)
        with safe_open(file, "pt") as opened:
            return dict(opened.metadata() or {})
    except Exception:  # the reader of this format raises exceptions of its own
        what = "damaged, or not a .safetensors file" if Path(file).is_file() else "no such file"
        raise MetablockError(f"{file}: {what}", "nothing was written") from None
