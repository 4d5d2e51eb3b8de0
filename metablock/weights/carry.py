"""Weights of one network for another: what has the same name and fits is taken, the rest keeps its initial values."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import MetablockError, MetablockWarning
from ..front import InputSize
from ..language.load import load_text
from ..language.spec import Spec
from ..language.weight_rules import Rules, read_rules
from .checkpoint import Tensors, stated_grids, stated_method
from .loading import fitting, network_of
from .report import WeightReport, WeightsError

# The table of a method's `weights:` that says which of its tensors are which of the backbone's.
BACKBONE = "backbone"


def carry_weights(model: nn.Module, other: nn.Module, spec: Spec, *, input: InputSize | None = None) -> WeightReport:
    """Loads what carries over from another network: tensors of the same name that have the same shape, or that loading adapts
    (tables of another grid, the first layer of other input channels).

    Args:
        model: built from ``spec``; on ``meta`` nothing is copied.
        other: any module, such as a network before an edit.
        spec: what the model was built from.
        input: the input size that the other network was built for, if it does not say it.

    Returns:
        What came from where. Its ``initial`` are the tensors of the model that nothing carries over to.

    Warns:
        MetablockWarning: some tensors of the model are not among those of the other, or have another shape.

    Raises:
        WeightsError: nothing carries over.
        MetablockError: the other module has no weights, or ones that are no plain numbers.

    >>> import metablock
    >>> from metablock.errors import MetablockWarning
    >>> model, other = (metablock.build("resnet18", edits=f"depth = [{n}, 1, 1, 1]") for n in (1, 2))
    >>> carry_weights(model, other, model.spec).left[0]
    'stages.0.blocks.1.branch.first.weight'
    """
    state: Mapping[str, Any] = other.state_dict()
    if not any(tensor.is_meta for tensor in model.parameters()) and any(tensor.is_meta for tensor in other.parameters()):
        raise MetablockError("there are no weights on 'meta'", "build the network whose weights are taken on a device")
    if stated_method(state) and spec.method is None:
        return carry_method(model, state, spec, input=input)
    return _carry(model, state, spec, input)


def carry_method(model: nn.Module, state: Mapping[str, Any], spec: Spec, *, input: InputSize | None = None) -> WeightReport:
    """Loads what carries over from the network of a method around this one: tensors of the same name, those that the method's
    `weights: {backbone: ...}` names, and those of the parts that it takes. Arguments and result as :func:`carry_weights`.

    Args:
        state: of the method's network; it holds the method's text.
    """
    method = load_text(stated_method(state), "<method>")
    grids = stated_grids(state)
    rules = read_rules(method, BACKBONE) if BACKBONE in method.weights else Rules((), ())
    network, names = network_of(model, spec), dict[str, str]()
    for name in model.state_dict():
        match = rules.find(name, network)
        keys = [key.fill(match[1]) for key in match[0].keys] if match is not None else []
        names[name] = name if name in state else keys[0] if len(keys) == 1 and keys[0] in state else _taken(name, method, state)
    there = {ours: theirs for ours, theirs in names.items() if theirs}
    values = Tensors(
        {ours: state[theirs] for ours, theirs in there.items()}, {o: grids[t] for o, t in there.items() if t in grids}
    )
    report = _carry(model, values, spec, input)
    report.source = f"method {method.name}"
    report.used = {name: there.get(name, key) for name, key in report.used.items()}
    report.left = [key for key in state if key not in there.values()]
    return report


def _taken(name: str, method: Spec, state: Mapping[str, Any]) -> str:
    """The tensor of a method's network behind the name of a part that it takes: `embed.weight` of `stem.embed.weight`."""
    parts = name.split(".")
    for hole in method.holes:
        if hole in parts[:-1]:
            rest = ".".join(parts[parts.index(hole) :])
            fits = [key for key in state if key == rest or key.endswith(f".{rest}")]
            if len(fits) == 1:
                return fits[0]
    return ""


def _carry(model: nn.Module, state: Mapping[str, Any], spec: Spec, input: InputSize | None) -> WeightReport:
    own = dict(model.named_parameters())
    values, report = fitting(model, state, spec, input=input)
    if not values:
        raise WeightsError(spec.name, report)
    initial = [name for name in own if name not in values]
    report.initial += initial
    if not any(parameter.is_meta for parameter in own.values()):
        model.load_state_dict(values, strict=False)
    if initial:
        names = ", ".join(initial[:3]) + (" ..." if len(initial) > 3 else "")
        message = f"{len(initial)} of {len(own)} parameters of '{spec.name}' keep their initial values: {names}"
        warnings.warn(message, MetablockWarning, stacklevel=5)
    return report
