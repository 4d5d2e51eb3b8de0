"""Weights of one network for another: what has the same name and fits is taken, the rest keeps its initial values."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import MetablockError, MetablockWarning
from ..front import InputSize
from ..language.spec import Spec
from .loading import fitting
from .report import WeightReport, WeightsError


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
    'stages.0.blocks.1.conv_bn_1.conv.weight'
    """
    state: Mapping[str, Any] = other.state_dict()
    own = dict(model.named_parameters())
    if not any(parameter.is_meta for parameter in own.values()) and any(tensor.is_meta for tensor in other.parameters()):
        raise MetablockError("there are no weights on 'meta'", "build the network whose weights are taken on a device")
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
        warnings.warn(message, MetablockWarning, stacklevel=4)
    return report
