"""Weights from checkpoints: ours, the official repository's or timm's, by the rules of :mod:`metablock.language.weight_rules`."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MetablockError, suggest
from ..language.spec import Spec
from ..language.weight_rules import OURS, Fit, ReadyRule, Rules, RuleStep, read_rules

State = Mapping[str, Tensor]
# Counters that batch norm keeps; they take no part in what a network computes.
_OPTIONAL = "num_batches_tracked"
# Where training scripts put the weights, the averaged ones first.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
# What wrappers of modules put before every name.
_PREFIXES = ("module.", "_orig_mod.")
_SHOWN = 20
# The parts of a network that the number of classes takes no part in.
_BODY = ("stem", "stages", "shared")


@dataclass
class WeightReport:
    """What became of a checkpoint.

    Attributes:
        source: whose names it used.
        used: where each of our tensors came from.
        reshaped: ours, of another shape there that differs by extents of 1.
        resized: ours, tables of another size there: positions that were interpolated.
        adapted: ours, first and last layers for other channels and classes, and what was done.
        initial: ours, of these those that keep their initial values: a classifier of other classes.
        missing: ours, not there.
        left: theirs, without a use here.
        wrong: ours, of another shape there.
        skipped: theirs, no tensors (an epoch, a version).
        shapes: of theirs that were used: with these the same weights can be given back under their names.
    """

    source: str
    used: dict[str, str] = field(default_factory=dict)
    reshaped: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    initial: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.left) + len(self.wrong)

    @property
    def complete(self) -> bool:
        return not self.misfits

    def __str__(self) -> str:
        lines = [f"{len(self.used)} tensors by the names of '{self.source}'"]
        listed = {"reshaped": self.reshaped, "resized": self.resized, "adapted": self.adapted, "missing": self.missing}
        listed["left over"] = self.left
        for label, names in {**listed, "of another shape": self.wrong, "no tensors": self.skipped}.items():
            if names:
                more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                lines.append(f"{len(names)} {label}: {', '.join(names[:_SHOWN])}{more}")
        return "\n  ".join(lines)


class WeightsError(MetablockError):
    """A checkpoint that does not fit. ``report`` says all, the text lists the first of each kind."""

    def __init__(self, name: str, report: WeightReport):
        super().__init__(f"the weights do not fit '{name}': {report}\n  nothing was loaded")
        self.name, self.report = name, report

    def __reduce__(self) -> tuple[type[WeightsError], tuple[str, WeightReport]]:
        return WeightsError, (self.name, self.report)


def read_state(path: str | Path) -> dict[str, Any]:
    """A state dict from a ``.safetensors`` file, or from one that torch wrote (``.pth``), of which only data is read, never code.

    A training script's file is unwrapped: ``{"model": {...}, "epoch": 3}``, averaged weights before others.

    Raises:
        MetablockError: no such file; damaged; holds more than data; holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise MetablockError(f"{path}: {'not a file' if path.exists() else 'no such file'}\n  give a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        code = isinstance(problem, pickle.UnpicklingError) and re.search("GLOBAL|allowlisted", str(problem))
        kind = "holds more than data (code in it was not run)" if code else "damaged, or not a checkpoint"
        raise MetablockError(f"{path}: {kind}\n  nothing was loaded; save it anew as `state_dict()` or .safetensors") from None
    if not isinstance(content, Mapping):
        raise MetablockError(
            f"{path}: holds a {type(content).__name__}, not a state dict\n  a mapping from names to tensors is expected"
        )
    return unwrapped(content)


def unwrapped(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The state dict in what a training script saved, without what DataParallel and ``torch.compile`` put before the names."""
    while True:
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    state = {str(key): value for key, value in content.items()}
    for prefix in _PREFIXES:
        tensors = [key for key, value in state.items() if isinstance(value, Tensor)]
        if tensors and all(key.startswith(prefix) for key in tensors):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_weights(model: nn.Module, state: Mapping[str, Any], spec: Spec, source: str | None = None) -> WeightReport:
    """Fills a model from a state dict. Nothing is changed unless every name of both sides is accounted for.

    Args:
        model: built from ``spec``. On ``meta`` it is only seen whether the weights fit.
        state: names and tensors of a checkpoint, also in a training script's wrapping.
        spec: has the rules.
        source: whose names are used (``ours`` or a table of `weights:`); by default those that fit best.

    Returns:
        Which tensor came from where.

    Raises:
        WeightsError: something is missing, left over or of another shape; the text lists it.
        MetablockError: an unknown source, no tensors at all; its subclass SpecError for rules that are malformed.
    """
    known = [OURS, *spec.weights]
    if source is not None and source not in known:
        hint = suggest(source, known, f"there are: {', '.join(known)}")
        raise MetablockError(f"'{spec.name}' has no weight rules '{source}'\n  {hint}")
    state = unwrapped(state)
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise MetablockError(f"the weights for '{spec.name}' hold no tensors\n  a mapping from names to tensors is expected")
    own, blocks = model.state_dict(), blocks_of(model)
    tables = {f"{path}.weight": module for path, module in model.named_modules() if hasattr(module, "resized")}
    sizes = _Sizes(spec, model)
    attempts = [_match(own, blocks, tensors, name, spec, tables, sizes) for name in ([source] if source is not None else known)]
    values, report = min(attempts, key=lambda attempt: attempt[1].misfits)
    report.skipped = [key for key in state if key not in tensors]
    if not report.complete:
        raise WeightsError(spec.name, report)
    if not any(tensor.is_meta for tensor in own.values()):
        model.load_state_dict(values, strict=False)
    return report


class _Sizes:
    """The numbers of classes and of input channels: what first and last layers are adapted to, as timm does."""

    def __init__(self, spec: Spec, model: nn.Module):
        self.classes = spec.classes
        self.channels = {feature.c for feature in getattr(model, "inputs", ())}

    def adapted(self, name: str, value: Tensor, ours: Tensor) -> tuple[Tensor, str] | None:
        """A layer's weights for our number of classes or channels, and what was done; None if that is not what differs."""
        theirs = value.shape
        if len(theirs) != len(ours.shape) or not theirs:
            return None
        differs = [axis for axis, (a, b) in enumerate(zip(theirs, ours.shape, strict=True)) if a != b]
        if differs == [0] and ours.shape[0] == self.classes and name.split(".")[0] not in _BODY:
            return ours, f"{theirs[0]} classes there, {self.classes} here: as initialised"
        if differs == [1] and len(theirs) > 2 and ours.shape[1] in self.channels:
            return _channels(value, ours.shape[1]), f"{theirs[1]} channels there, {ours.shape[1]} here"
        return None


def _channels(kernel: Tensor, channels: int) -> Tensor:
    """A first kernel for another number of channels: summed for a single one, else repeated, and scaled to the same sum."""
    if channels == 1:
        return kernel.sum(1, keepdim=True)
    have = kernel.shape[1]
    index = torch.arange(channels, device=kernel.device) % have
    return kernel[:, index] * (have / channels)


def blocks_of(model: nn.Module) -> list[int]:
    """How many blocks each stage has: its own, or those of a line of its stream (``stages.0.x.blocks.2``)."""
    count: dict[int, int] = {}
    for name, _ in model.named_modules():
        found = re.match(r"stages\.(\d+)(?:(?:\.[a-z]\w*)?\.blocks\.(\d+))?$", name)
        if found:
            stage = int(found[1])
            count[stage] = max(count.get(stage, 0), int(found[2] or -1) + 1)
    return [count.get(stage, 0) for stage in range(max(count, default=-1) + 1)]


def _match(
    own: State, blocks: Sequence[int], state: State, source: str, spec: Spec, tables: Mapping[str, Any], sizes: _Sizes
) -> tuple[dict[str, Tensor], WeightReport]:
    report, values = WeightReport(source), dict[str, Tensor]()
    rules = Rules((), ()) if source == OURS else read_rules(spec, source)
    taken: set[str] = set()
    for name, parameter in own.items():
        found = rules.find(name, blocks)
        keys = [key.fill(found[1]) for key in found[0].keys] if found else [name] if source == OURS else []
        if not keys or any(key not in state for key in keys):
            if not name.endswith(_OPTIONAL):
                report.missing.append(_missing(name, keys, state))
            continue
        taken.update(keys)
        shapes = " ++ ".join(f"{key} {tuple(state[key].shape)}" for key in keys)
        try:
            value = _value(found, [state[key] for key in keys], parameter.shape)
            if value.shape.numel() != parameter.shape.numel() and (table := _resized(tables.get(name), value)) is not None:
                report.resized.append(name)
                value = table
            if value.shape != parameter.shape and (made := sizes.adapted(name, value, parameter)) is not None:
                value, what = made
                report.initial += [name] * (value is parameter)
                report.adapted.append(f"{name} ({what})")
            if value.shape != parameter.shape:
                if [n for n in value.shape if n != 1] != [n for n in parameter.shape if n != 1]:
                    raise _MisfitError(f" (made {tuple(value.shape)})" if found and (found[0].steps or len(keys) > 1) else "")
                report.reshaped.append(name)
                value = value.reshape(parameter.shape)
        except _MisfitError as misfit:
            report.wrong.append(f"{name} {tuple(parameter.shape)} from {shapes}{misfit}")
            continue
        values[name] = value
        report.used[name] = " ++ ".join(keys)
    report.shapes = {key: tuple(state[key].shape) for key in sorted(taken)}
    report.left = [key for key in state if key not in taken and not key.endswith(_OPTIONAL) and not rules.ignored(key)]
    return values, report


def _resized(owner: Any, value: Tensor) -> Tensor | None:
    """What a table of another size is at ours; None where its module has no way."""
    if owner is None or value.is_meta:
        return None
    made: Tensor | None = owner.resized(value)
    return made


def _missing(name: str, keys: list[str], state: State) -> str:
    if keys == [name]:
        return name
    return f"{name} ({', '.join(key for key in keys if key not in state)})" if keys else f"{name} (no rule)"


class _MisfitError(Exception):
    """A tensor that a rule's steps cannot be applied to."""


def made_of(found: tuple[ReadyRule, Fit], tensors: list[Tensor], shape: torch.Size) -> Tensor | None:
    """What a rule makes of these tensors of a checkpoint; None where it cannot be applied to them."""
    try:
        return _value(found, tensors, shape)
    except _MisfitError:
        return None


def _value(found: tuple[ReadyRule, Fit] | None, tensors: list[Tensor], shape: torch.Size) -> Tensor:
    """What a rule makes of the tensors it names, ``shape`` being what is wanted. Raises _MisfitError."""
    step: RuleStep | None = None
    try:
        value = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        if found is not None:
            for step in found[0].steps:
                value = _apply(step.name, step.numbers(found[1]), value, shape)
    except (RuntimeError, IndexError, TypeError):
        raise _MisfitError(f" (`{step.text}` is impossible)" if step else " (cannot be concatenated)") from None
    return value


def _apply(step: str, numbers: list[int], value: Tensor, shape: torch.Size) -> Tensor:
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
    # Alone: in our shape; of a table of another size, which will be interpolated, the last axis.
    return value.reshape(numbers or (shape if value.numel() == shape.numel() else (-1, shape[-1])))
