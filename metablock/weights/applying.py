"""Applies one rule for weights to the tensors that it names."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..language.weight_rules import Fit, Joined, Key, ReadyRule, RuleStep


class MisfitError(Exception):
    """Tensors that do not fit a rule, or its result our tensor. ``hint``: what would help."""

    def __init__(self, text: str, hint: str | None = None):
        super().__init__(text)
        self.hint = hint


def apply_rule(rule: ReadyRule, fit: Fit, tensors: list[Tensor], shape: torch.Size) -> Tensor | None:
    """Applies a weight rule to tensors of a checkpoint; None if their shapes do not fit the rule.

    Args:
        rule: joins the tensors along the first axis and applies its steps.
        fit: the numbers in the name of our tensor.
        tensors: those that the rule names.
        shape: the shape of our tensor.
    """
    try:
        return composed((rule, fit), tensors, shape)
    except MisfitError:
        return None


def composed(match: tuple[ReadyRule, Fit] | None, tensors: list[Tensor], shape: torch.Size) -> Tensor:
    """Joins the tensors, and applies the steps of the rule if there is one. Raises MisfitError."""
    tensors = [tensor.detach() for tensor in tensors]
    return tensors[0] if match is None else _joined(match[0].source, match[1], iter(tensors), shape)


def _joined(source: Joined, fit: Fit, tensors: Iterator[Tensor], shape: torch.Size) -> Tensor:
    """The tensors of a source's names, which come in order, as it says."""
    parts = [next(tensors) if isinstance(part, Key) else _joined(part, fit, tensors, shape) for part in source.parts]
    step: RuleStep | None = None
    try:
        value = parts[0] if len(parts) == 1 else torch.cat(parts)
        for step in source.steps:
            value = _apply(step.name, step.numbers(fit), value, shape)
    except (RuntimeError, IndexError, TypeError):
        raise MisfitError(f" (`{step.text}` is impossible)" if step else " (cannot be concatenated)") from None
    return value


def _apply(step: str, numbers: list[int], value: Tensor, shape: torch.Size) -> Tensor:
    """Applies one step, as :mod:`metablock.language.weight_rules` describes them."""
    if step == "chunk":
        k, n = numbers
        if n < 1 or not 0 <= k < n or value.shape[0] % n:
            raise IndexError
        return value.chunk(n)[k]
    if step == "rows":
        return value[numbers[0] : numbers[1]]
    if step == "columns":
        return value[:, numbers[0] : numbers[1]]
    if step == "transpose":
        return value.transpose(-1, -2)
    if step == "ungroup":
        groups, *sizes = numbers
        return torch.cat([part.flatten(0, 1) for part in value.unflatten(0, (groups, sum(sizes))).split(sizes, 1)])
    if step == "pointwise":
        return value.flatten(1) if value.dim() > 2 and value.shape[2:].numel() == 1 else value
    if step == "flip":
        return value.flip(0)
    if step == "permute":
        return value.permute(numbers)
    # `reshape` without numbers: to our shape; a table of another size, to be interpolated later, keeps our last axis.
    return value.reshape(numbers or (shape if value.numel() == shape.numel() else (-1, shape[-1])))
