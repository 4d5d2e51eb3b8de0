"""Weights under other names: what a checkpoint of the official repository or of timm would hold, had it these weights.

A rule says how ours are made of theirs by moving numbers: parts of a tensor, several side by side, another order of axes. So it
is turned round without a second set of rules: the rule is applied to tensors of numbered places, and the result says which
number of ours goes to which place of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from ..errors import MetablockError, suggest
from ..language.spec import Spec
from ..language.weight_rules import Fit, ReadyRule, read_rules
from .loading import WeightReport, blocks_of, made_of

# What a file of ours remembers of the checkpoint that it came from.
LAYOUT = "layout"
_COUNTER = "num_batches_tracked"
Shapes = Mapping[str, Sequence[int]]


@dataclass
class _Use:
    """One of our tensors, and how it is made of theirs."""

    name: str
    keys: list[str]
    found: tuple[ReadyRule, Fit]


def export_state(model: nn.Module, spec: Spec, to: str, shapes: Shapes | None = None) -> dict[str, Tensor]:
    """The weights of a model under the names of another code, in its shapes.

    Args:
        model: built from ``spec``.
        spec: has the rules; from :func:`metablock.resolved`, or ``model.spec``.
        to: a table of its `weights:`: ``official``, ``timm``.
        shapes: of the tensors there, from a checkpoint of theirs. Without it they follow from ours, unless a rule joins several
            tensors or reshapes one: then they cannot be known.

    Returns:
        A state dict. Their keys that have no part in ours (index tables, masks) are not in it.

    Raises:
        MetablockError: no such table; shapes that are not known, or do not fit; a tensor of theirs that ours do not fill.
    """
    if to not in spec.weights:
        hint = suggest(to, spec.weights, f"there are: {', '.join(spec.weights)}" if spec.weights else "it has no `weights:`")
        raise MetablockError(f"'{spec.name}' has no weight rules '{to}'\n  {hint}")
    rules, blocks, ours = read_rules(spec, to), blocks_of(model), model.state_dict()
    uses: list[_Use] = []
    for name in ours:
        found = rules.find(name, blocks)
        if found is not None:
            uses.append(_Use(name, [key.fill(found[1]) for key in found[0].keys], found))
        elif not name.endswith(_COUNTER):
            raise MetablockError(f"no rule of '{to}' says where {name} goes\n  add one to `weights:` of '{spec.name}'")
    rank = max((len(feature.grid) for feature in getattr(model, "inputs", ())), default=2)
    extents = _extents(uses, {name: tuple(tensor.shape) for name, tensor in ours.items()}, shapes or {}, rank)
    result: dict[str, Tensor] = {}
    filled: dict[str, int] = {}
    for use in uses:
        tensor = ours[use.name]
        places, start = list[Tensor](), 0
        for key in use.keys:
            count = prod(extents[key])
            places.append(torch.arange(start, start + count).reshape(extents[key]))
            start += count
        index = made_of(use.found, places, tensor.shape)
        if index is None or index.numel() != tensor.numel():
            shown = " ++ ".join(f"{key} {extents[key]}" for key in use.keys)
            raise MetablockError(f"{use.name} {tuple(tensor.shape)} does not fill {shown}\n  are they of another variant?")
        values = torch.empty(start, dtype=tensor.dtype)
        taken = torch.zeros(start, dtype=torch.bool)
        values[index.flatten()] = tensor.detach().cpu().flatten()
        taken[index.flatten()] = True
        sizes = [place.numel() for place in places]
        for key, part, used in zip(use.keys, values.split(sizes), taken.split(sizes), strict=True):
            target = result.setdefault(key, torch.zeros(extents[key], dtype=tensor.dtype))
            target.view(-1)[used] = part[used]
            filled[key] = filled.get(key, 0) + int(used.sum())
    for key, target in result.items():
        if filled[key] < target.numel():
            raise MetablockError(f"{key} {tuple(target.shape)}: ours fill {filled[key]} of its {target.numel()} numbers")
    return result


def _extents(uses: list[_Use], ours: Shapes, known: Shapes, rank: int) -> dict[str, tuple[int, ...]]:
    """The shapes of their tensors: those that are known, else as ours say."""
    result: dict[str, tuple[int, ...]] = {}
    for use in uses:
        for key in use.keys:
            if key in known:
                result[key] = tuple(known[key])
        if all(key in known for key in use.keys):
            continue
        guess = _before(use, tuple(ours[use.name]), rank)
        if guess is None:
            shown = " ++ ".join(use.keys)
            raise MetablockError(
                f"the shape of {shown} does not follow from that of {use.name}\n  give a checkpoint of theirs: --like FILE"
            )
        key = use.keys[0]
        before = result.get(key, guess)
        result[key] = tuple(max(a, b) for a, b in zip(before, guess, strict=True)) if len(before) == len(guess) else guess
    return result


def _before(use: _Use, shape: tuple[int, ...], rank: int) -> tuple[int, ...] | None:
    """The shape that a rule's steps made this one of; None where they do not say."""
    if len(use.keys) > 1:
        return None
    rule, fit = use.found
    for step in reversed(rule.steps):
        numbers = step.numbers(fit)
        match step.name:
            case "chunk":
                shape = (shape[0] * numbers[1], *shape[1:])
            case "rows":
                shape = (numbers[1], *shape[1:])
            case "columns":
                shape = (shape[0], numbers[1], *shape[2:])
            case "transpose":
                shape = (*shape[:-2], shape[-1], shape[-2])
            case "permute":
                shape = tuple(shape[numbers.index(axis)] for axis in range(len(numbers)))
            case "pointwise":
                shape = (*shape, *(1,) * rank) if len(shape) == 2 else shape
            case "flip" | "ungroup":
                pass
            case _:
                return None
    return shape


# What a file remembers


def layout(report: WeightReport) -> str:
    """Whose names a checkpoint had and of what shapes its tensors were, as a text for a file's metadata."""
    return json.dumps({"of": report.source, "shapes": report.shapes})


def read_layout(text: str | None, to: str) -> Shapes:
    """The shapes that :func:`layout` wrote, if they are those of this kind of checkpoint."""
    try:
        found = json.loads(text or "{}")
        return {str(key): tuple(map(int, shape)) for key, shape in found["shapes"].items()} if found.get("of") == to else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MetablockError("what the file says of its origin is damaged\n  give a checkpoint of theirs: --like FILE") from None
