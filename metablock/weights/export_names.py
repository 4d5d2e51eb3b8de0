"""Exports weights under other names: as the checkpoint of the official repository or of timm that these weights come from.

A weight rule only moves numbers: it splits, joins and permutes the tensors of a checkpoint to make ours. So no second set of
rules is needed for the way back: the rule is applied to tensors of indices, and the result says which number of ours goes to
which index of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from ..errors import MetablockError, suggest
from ..language.spec import Spec
from ..language.weight_rules import Fit, Joined, NetworkFacts, ReadyRule, RuleStep, read_rules
from ..language.weight_rules.rule import EVERY
from .loading import WeightReport, apply_rule, network_of
from .numbered import gathered, numbered

# The metadata key under which a .safetensors file keeps the layout of the checkpoint its weights were loaded from.
LAYOUT = "layout"
_COUNTER = "num_batches_tracked"
Shapes = Mapping[str, Sequence[int]]


@dataclass
class _Use:
    """One of our tensors, the keys of theirs that it is made of, and the rule that makes it.

    ``groups``: a list for each name of the rule; of several keys where one stands for all numbers.
    """

    name: str
    groups: list[list[str]]
    rule: ReadyRule
    fit: Fit

    @property
    def keys(self) -> list[str]:
        return [key for group in self.groups for key in group]


def export_state(model: nn.Module, spec: Spec, to: str, shapes: Shapes | None = None) -> dict[str, Tensor]:
    """The weights of a model under the names, and in the shapes, of another implementation.

    Args:
        model: built from ``spec``.
        spec: holds the rules; from :func:`metablock.resolved`, or ``model.spec``.
        to: a table of its `weights:`: ``official``, ``timm``.
        shapes: the shapes of their tensors, from one of their checkpoints. Without it they are computed from ours, which is
            impossible where a rule joins several tensors or reshapes one.

    Returns:
        A state dict on the CPU. It lacks keys of theirs that do not contribute to ours (index tables, masks).

    Raises:
        MetablockError: no such table; shapes that are unknown, or do not fit; a tensor of theirs that ours do not fill.

    >>> import metablock
    >>> model = metablock.build("resnet18", edits=["depth = [1, 1, 1, 1]"])
    >>> list(export_state(model, model.spec, "torchvision"))[:2]
    ['conv1.weight', 'bn1.weight']
    """
    if to not in spec.weights:
        hint = suggest(to, spec.weights, f"there are: {', '.join(spec.weights)}" if spec.weights else "it has no `weights:`")
        raise MetablockError(f"'{spec.name}' has no weight rules '{to}'", hint)
    ours = model.state_dict()
    uses = _uses(list(ours), spec, to, network_of(model, spec), shapes or {})
    rank = max((len(feature.grid) for feature in getattr(model, "inputs", ())), default=2)
    extents = _extents(uses, {name: tuple(tensor.shape) for name, tensor in ours.items()}, shapes or {}, rank)
    result: dict[str, Tensor] = {}
    filled: dict[str, int] = {}
    for use in uses:
        tensor = ours[use.name]
        sizes = [prod(extents[key]) for key in use.keys]
        index = _index(use, [extents[key] for key in use.keys], tensor.shape)
        values = torch.empty(sum(sizes), dtype=tensor.dtype)
        covered = torch.zeros(sum(sizes), dtype=torch.bool)
        values[index] = tensor.detach().cpu().flatten()
        covered[index] = True
        for key, part, mask in zip(use.keys, values.split(sizes), covered.split(sizes), strict=True):
            target = result.setdefault(key, torch.zeros(extents[key], dtype=tensor.dtype))
            target.view(-1)[mask] = part[mask]
            filled[key] = filled.get(key, 0) + int(mask.sum())
    for key, target in result.items():
        if filled[key] < target.numel():
            message = f"{key} {tuple(target.shape)}: ours fill {filled[key]} of its {target.numel()} numbers"
            raise MetablockError(message, "the rules take only a part of it: write one for each other part")
    return result


def _uses(names: Sequence[str], spec: Spec, to: str, network: NetworkFacts, known: Shapes) -> list[_Use]:
    """By the rules of a table, what each of our tensors is made of. Raises MetablockError for a name without a rule."""
    rules, uses = read_rules(spec, to), list[_Use]()
    for name in names:
        match = rules.find(name, network)
        if match is not None:
            rule, fit = match
            uses.append(_Use(name, [numbered(key.fill(fit), known) for key in rule.keys], rule, fit))
        elif not name.endswith(_COUNTER):
            raise MetablockError(f"no rule of '{to}' says where {name} goes", f"add one to `weights:` of '{spec.name}'")
    return uses


def _index(use: _Use, shapes: Sequence[tuple[int, ...]], shape: torch.Size) -> Tensor:
    """For every number of ours, flattened, its index in their tensors, flattened and joined."""
    indices, start = list[Tensor](), 0
    for extents in shapes:
        indices.append(torch.arange(start, start + prod(extents)).reshape(extents))
        start += prod(extents)
    index = apply_rule(use.rule, use.fit, gathered(use.groups, indices), shape)
    if index is None or index.numel() != shape.numel():
        shown = " ++ ".join(f"{key} {extents}" for key, extents in zip(use.keys, shapes, strict=True))
        raise MetablockError(f"{use.name} {tuple(shape)} does not fill {shown}", "are they of another variant?")
    return index.flatten()


def _extents(uses: list[_Use], ours: Shapes, known: Shapes, rank: int) -> dict[str, tuple[int, ...]]:
    """The shapes of their tensors: the known ones, otherwise computed from ours."""
    result: dict[str, tuple[int, ...]] = {}
    for use in uses:
        for key in use.keys:
            if key in known:
                result[key] = tuple(known[key])
        if all(key in known for key in use.keys):
            continue
        extents = _before(use, tuple(ours[use.name]), rank)
        if extents is None:
            shown = " ++ ".join(use.keys)
            raise MetablockError(
                f"the shape of {shown} does not follow from that of {use.name}", "give a checkpoint of theirs: --like FILE"
            )
        key = use.keys[0]
        before = result.get(key, extents)
        same_rank = len(before) == len(extents)
        result[key] = tuple(max(a, b) for a, b in zip(before, extents, strict=True)) if same_rank else extents
    return result


def _steps(source: Joined) -> Iterator[RuleStep]:
    """The steps between one foreign tensor and ours, in order."""
    (part,) = source.parts
    if isinstance(part, Joined):
        yield from _steps(part)
    yield from source.steps


def _before(use: _Use, shape: tuple[int, ...], rank: int) -> tuple[int, ...] | None:
    """The shape of the tensor that the steps of a rule turn into one of this shape; None if they do not determine it."""
    if len(use.keys) > 1 or EVERY in use.keys[0]:
        return None
    for step in reversed(list(_steps(use.rule.source))):
        numbers = step.numbers(use.fit)
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


# The layout in a file's metadata


def layout(report: WeightReport) -> str:
    """The source and the tensor shapes of the loaded checkpoint, as JSON for a file's metadata."""
    return json.dumps({"of": report.source, "shapes": report.shapes})


def read_layout(text: str | None, to: str) -> Shapes:
    """The shapes in a text by :func:`layout`; empty if it describes another source than ``to``.

    Raises:
        MetablockError: a text that :func:`layout` did not write.

    >>> read_layout('{"of": "timm", "shapes": {"fc.bias": [1000]}}', "timm")
    {'fc.bias': (1000,)}
    """
    try:
        content = json.loads(text or "{}")
        return {str(key): tuple(map(int, shape)) for key, shape in content["shapes"].items()} if content.get("of") == to else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        message = "what the file says of its origin is damaged"
        raise MetablockError(message, "give a checkpoint of theirs: --like FILE") from None
