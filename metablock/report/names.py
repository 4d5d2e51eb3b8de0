"""The tensors of a network by name, beside those of a checkpoint, with what the spec's rules make of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ..api import assemble, state_of
from ..errors import MetablockError, suggest
from ..language.weight_rules import OURS, NetworkFacts, Rules, read_rules
from ..weights.loading import load_weights, network_of
from ..weights.report import WeightReport, WeightsError
from .options import BuildOptions, lowered

Kind = Literal["parameter", "frozen", "buffer", "counter"]
_COUNTER = "num_batches_tracked"


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TheirTensor(_Row):
    """A tensor of a checkpoint. ``shape``: null where the checkpoint lacks it. ``ignored``: by the rules it has no use here."""

    name: str
    shape: tuple[int, ...] | None
    ignored: bool = False


class OurTensor(_Row):
    """A tensor of the network.

    ``theirs``: the tensors that the rules make it of; ``rule``: the one that names it, with its place; null: none does.
    ``fits``: whether the checkpoint has them, in shapes that fit; null without a checkpoint. ``remark``: how it was adapted, or
    what is wrong.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Kind
    theirs: tuple[TheirTensor, ...] = ()
    rule: str | None = None
    fits: bool | None = None
    remark: str = ""


class NamesReport(_Row):
    """``show --as names``.

    ``rules``: whose names the checkpoint has, as asked for or as fits best; ``known``: the rule sets that the spec has. ``left``:
    tensors of the checkpoint that none of ours is made of; counters are not among them.
    """

    network: str
    rules: str | None
    known: tuple[str, ...]
    weights: str | None
    ours: tuple[OurTensor, ...]
    left: tuple[TheirTensor, ...]
    notes: tuple[str, ...]


def names_of(options: BuildOptions, weights: str | None = None, rules: str | None = None) -> NamesReport:
    """The names and shapes of a network's tensors; with a checkpoint, or a rule set, beside the names there.

    Args:
        options: the network.
        weights: a checkpoint, as :func:`metablock.build` takes it; it need not fit.
        rules: a table of the spec's `weights:`, or ``ours``; by default the one that fits the checkpoint best.

    Raises:
        MetablockError: an unknown rule set; a checkpoint that cannot be read, or holds no tensors.

    >>> report = names_of(BuildOptions("resnet18"), rules="torchvision")
    >>> row = report.ours[0]
    >>> row.name, row.shape, row.dtype, row.kind, [there.name for there in row.theirs]
    ('stem.conv_bn.conv.weight', (64, 3, 7, 7), 'float32', 'parameter', ['conv1.weight'])
    """
    spec, ir = lowered(options)
    model = assemble(spec, ir, device="meta")
    known = (OURS, *spec.weights)
    if rules is not None and rules not in known:
        raise MetablockError(
            f"'{spec.name}' has no weight rules '{rules}'", suggest(rules, known, f"there are: {', '.join(known)}")
        )
    report: WeightReport | None = None
    if weights is not None:
        try:
            report = load_weights(model, state_of(weights, spec), spec, rules)
        except WeightsError as wrong:
            report = wrong.report
        rules = report.source
    table = read_rules(spec, rules) if rules is not None and rules != OURS else Rules((), ())
    network = network_of(model, spec)
    rows = [_row(name, tensor, model, table, network, rules == OURS, report) for name, tensor in model.state_dict().items()]
    unused = report.unused if report is not None else {}
    left = tuple(
        TheirTensor(name=name, shape=shape, ignored=table.ignored(name))
        for name, shape in unused.items()
        if not name.endswith(_COUNTER)
    )
    return NamesReport(
        network=spec.variant or spec.name,
        rules=rules,
        known=known,
        weights=None if weights is None else Path(weights).name,
        ours=tuple(rows),
        left=left,
        notes=tuple(report.notes) if report is not None else (),
    )


def _row(
    name: str, tensor: Tensor, model: nn.Module, rules: Rules, network: NetworkFacts, same: bool, report: WeightReport | None
) -> OurTensor:
    match = rules.find(name, network)
    keys = [key.fill(match[1]) for key in match[0].keys] if match is not None else [name] if same else []
    shapes = {**report.unused, **report.shapes} if report is not None else {}
    fits = None if report is None else name in report.used or (name.endswith(_COUNTER) and not any(key in shapes for key in keys))
    theirs = tuple(TheirTensor(name=key, shape=shapes.get(key)) for key in keys)
    return OurTensor(
        name=name,
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        kind=_kind(name, model),
        theirs=theirs,
        rule=str(match[0]) if match is not None else None,
        fits=fits,
        remark=_remark(name, theirs, report) if report is not None else "",
    )


def _kind(name: str, model: nn.Module) -> Kind:
    path, _, last = name.rpartition(".")
    tensor = getattr(model.get_submodule(path), last)
    if isinstance(tensor, nn.Parameter):
        return "parameter" if tensor.requires_grad else "frozen"
    return "counter" if last == _COUNTER else "buffer"


def _remark(name: str, theirs: Sequence[TheirTensor], report: WeightReport) -> str:
    """How a tensor was adapted, or what is wrong with it."""
    if name in report.grids:
        return report.grids[name]
    for entry in report.adapted:
        if entry.split(" ")[0] == name:
            return entry.removeprefix(name).strip(" ()")
    if name in report.reshaped:
        return "reshaped"
    wrong = next((entry for entry in report.wrong if entry.split(" ")[0] == name), None)
    if wrong is None or not theirs:
        return ""
    return wrong.rpartition(f"{theirs[-1].name} {theirs[-1].shape}")[2].strip().removeprefix("(").removesuffix(")")


__all__ = ["NamesReport", "OurTensor", "TheirTensor", "names_of"]
