"""Loads checkpoints: ours, the official repository's or timm's, by the rules of :mod:`metablock.language.weight_rules`."""

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
# Batch norm's counters: evaluation does not read them.
_OPTIONAL = "num_batches_tracked"
# Keys under which training scripts save the weights, averaged ones first.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
# Prefixes that DataParallel and torch.compile add to every name.
_PREFIXES = ("module.", "_orig_mod.")
# Names listed per kind in a report's text.
_SHOWN = 20
# The parts of a network that do not depend on the number of classes.
_BODY = ("stem", "stages", "shared")


@dataclass
class WeightReport:
    """How a checkpoint was loaded. "Ours" are tensors of the model, "theirs" entries of the checkpoint.

    Attributes:
        source: the table of `weights:` whose names the checkpoint has; ``ours`` for our own names.
        used: for each of our tensors, the keys of theirs it was made of.
        reshaped: ours whose shape differs from theirs only by extents of 1.
        resized: ours that were interpolated from tables of another size (positions).
        adapted: ours in the first and last layers that fit other channels or classes, with what was done.
        initial: the adapted ones that keep their initial values: a classifier of other classes.
        missing: ours that the checkpoint lacks.
        left: theirs that no rule uses.
        wrong: ours whose shape does not fit theirs.
        skipped: theirs that are no tensors (an epoch, a version).
        shapes: the shapes of theirs that were used; :func:`~metablock.weights.export_names.export_state` takes them.
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
        """The number of tensors that are missing, left over or of another shape."""
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
    """A checkpoint that does not fit. ``report`` is complete; the text lists the first names of each kind."""

    def __init__(self, name: str, report: WeightReport):
        super().__init__(f"the weights do not fit '{name}': {report}", "nothing was loaded")
        self.name, self.report = name, report

    def __reduce__(self) -> tuple[type[WeightsError], tuple[str, WeightReport]]:
        return WeightsError, (self.name, self.report)


def read_state(path: str | Path) -> dict[str, Any]:
    """Reads a state dict from a ``.safetensors`` file or one that torch wrote (``.pth``). Only data is read; no code runs.

    The checkpoint of a training script is unwrapped (see :func:`unwrapped`).

    Raises:
        MetablockError: no such file; a damaged one; one that holds code, or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise MetablockError(f"{path}: {'not a file' if path.exists() else 'no such file'}", "give a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        code = isinstance(problem, pickle.UnpicklingError) and re.search("GLOBAL|allowlisted", str(problem))
        kind = "holds more than data (code in it was not run)" if code else "damaged, or not a checkpoint"
        hint = "nothing was loaded; save it anew as `state_dict()` or .safetensors"
        raise MetablockError(f"{path}: {kind}", hint) from None
    if not isinstance(content, Mapping):
        message = f"{path}: holds a {type(content).__name__}, not a state dict"
        raise MetablockError(message, "a mapping from names to tensors is expected")
    return unwrapped(content)


def unwrapped(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The state dict in the checkpoint of a training script, without the prefixes of DataParallel and ``torch.compile``.

    Averaged weights are preferred.

    >>> list(unwrapped({"epoch": 3, "model": {"module.fc.bias": torch.zeros(2)}}))
    ['fc.bias']
    """
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
    """Loads a state dict into a model. The model changes only if every tensor of both sides is accounted for.

    Args:
        model: built from ``spec``. On ``meta`` the weights are only checked, not copied.
        state: names and tensors of a checkpoint, also as a training script wraps them.
        spec: holds the rules.
        source: whose names the checkpoint has (``ours`` or a table of `weights:`); by default those that fit best.

    Returns:
        Which tensor came from where.

    Raises:
        WeightsError: tensors are missing, left over or of another shape; the text lists them.
        MetablockError: an unknown source, no tensors at all; its subclass SpecError for malformed rules.

    >>> import metablock
    >>> model = metablock.build("resnet18", edits=["depth = [1, 1, 1, 1]"])
    >>> report = metablock.load_weights(model, model.state_dict(), model.spec)
    >>> report.source, report.used["head.linear.bias"], report.complete
    ('ours', 'head.linear.bias', True)
    """
    known = [OURS, *spec.weights]
    if source is not None and source not in known:
        hint = suggest(source, known, f"there are: {', '.join(known)}")
        raise MetablockError(f"'{spec.name}' has no weight rules '{source}'", hint)
    state = unwrapped(state)
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise MetablockError(f"the weights for '{spec.name}' hold no tensors", "a mapping from names to tensors is expected")
    own, blocks, adapter = model.state_dict(), blocks_of(model), _Adapter(spec, model)
    attempts = [_match(own, blocks, tensors, name, spec, adapter) for name in ([source] if source is not None else known)]
    values, report = min(attempts, key=lambda attempt: attempt[1].misfits)
    report.skipped = [key for key in state if key not in tensors]
    if not report.complete:
        raise WeightsError(spec.name, report)
    if not any(tensor.is_meta for tensor in own.values()):
        model.load_state_dict(values, strict=False)
    return report


class _Adapter:
    """Fits the tensors of a checkpoint to a network with another input size, other channels or other classes, as timm does."""

    def __init__(self, spec: Spec, model: nn.Module):
        self.classes = spec.classes
        self.channels = {feature.c for feature in getattr(model, "inputs", ())}
        self.tables: dict[str, Any] = {
            f"{path}.weight": module for path, module in model.named_modules() if hasattr(module, "resized")
        }

    def fit(self, name: str, value: Tensor, ours: Tensor, report: WeightReport, composed: bool) -> Tensor:
        """The value in our shape; what was done goes into the report.

        ``composed``: a rule computed the value, so the message of a misfit has its shape. Raises _MisfitError.
        """
        if value.shape.numel() != ours.shape.numel() and (table := self.resized(name, value)) is not None:
            report.resized.append(name)
            value = table
        if value.shape != ours.shape and (adapted := self.adapted(name, value, ours)) is not None:
            value, action = adapted
            report.initial += [name] * (value is ours)
            report.adapted.append(f"{name} ({action})")
        if value.shape == ours.shape:
            return value
        if [n for n in value.shape if n != 1] != [n for n in ours.shape if n != 1]:
            raise _MisfitError(f" (made {tuple(value.shape)})" if composed else "")
        report.reshaped.append(name)
        return value.reshape(ours.shape)

    def resized(self, name: str, value: Tensor) -> Tensor | None:
        """A table interpolated to our size; None for other tensors, and where its module cannot interpolate."""
        if name not in self.tables or value.is_meta:
            return None
        table: Tensor | None = self.tables[name].resized(value)
        return table

    def adapted(self, name: str, value: Tensor, ours: Tensor) -> tuple[Tensor, str] | None:
        """A layer's weights for our classes or channels, and what was done; None if something else differs."""
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
    """A first kernel for another number of input channels: summed for one, otherwise repeated and scaled to the same sum."""
    if channels == 1:
        return kernel.sum(1, keepdim=True)
    have = kernel.shape[1]
    index = torch.arange(channels, device=kernel.device) % have
    return kernel[:, index] * (have / channels)


def blocks_of(model: nn.Module) -> list[int]:
    """The number of blocks of each stage: its own, or those of a line of its stream (``stages.0.x.blocks.2``)."""
    count: dict[int, int] = {}
    for name, _ in model.named_modules():
        match = re.match(r"stages\.(\d+)(?:(?:\.[a-z]\w*)?\.blocks\.(\d+))?$", name)
        if match:
            stage = int(match[1])
            count[stage] = max(count.get(stage, 0), int(match[2] or -1) + 1)
    return [count.get(stage, 0) for stage in range(max(count, default=-1) + 1)]


def _match(
    own: State, blocks: Sequence[int], state: State, source: str, spec: Spec, adapter: _Adapter
) -> tuple[dict[str, Tensor], WeightReport]:
    """The values for our tensors by the rules of one source, and the report of what fits."""
    report, values = WeightReport(source), dict[str, Tensor]()
    rules = Rules((), ()) if source == OURS else read_rules(spec, source)
    taken: set[str] = set()
    for name, parameter in own.items():
        match = rules.find(name, blocks)
        keys = [key.fill(match[1]) for key in match[0].keys] if match else [name] if source == OURS else []
        if not keys or any(key not in state for key in keys):
            if not name.endswith(_OPTIONAL):
                report.missing.append(_missing(name, keys, state))
            continue
        taken.update(keys)
        tensors = [state[key] for key in keys]
        composed = match is not None and bool(match[0].steps or len(keys) > 1)
        try:
            value = _value(match, tensors, parameter.shape)
            values[name] = adapter.fit(name, value, parameter, report, composed)
        except _MisfitError as misfit:
            shapes = " ++ ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in zip(keys, tensors, strict=True))
            report.wrong.append(f"{name} {tuple(parameter.shape)} from {shapes}{misfit}")
            continue
        report.used[name] = " ++ ".join(keys)
    report.shapes = {key: tuple(state[key].shape) for key in sorted(taken)}
    report.left = [key for key in state if key not in taken and not key.endswith(_OPTIONAL) and not rules.ignored(key)]
    return values, report


def _missing(name: str, keys: list[str], state: State) -> str:
    """One of our tensors, with the keys that the checkpoint lacks."""
    if keys == [name]:
        return name
    return f"{name} ({', '.join(key for key in keys if key not in state)})" if keys else f"{name} (no rule)"


class _MisfitError(Exception):
    """Tensors whose shapes do not fit a rule, or its result our tensor."""


def apply_rule(rule: ReadyRule, fit: Fit, tensors: list[Tensor], shape: torch.Size) -> Tensor | None:
    """Applies a weight rule to tensors of a checkpoint; None if their shapes do not fit the rule.

    Args:
        rule: joins the tensors along the first axis and applies its steps.
        fit: the numbers in the name of our tensor.
        tensors: those that the rule names.
        shape: the shape of our tensor.
    """
    try:
        return _value((rule, fit), tensors, shape)
    except _MisfitError:
        return None


def _value(match: tuple[ReadyRule, Fit] | None, tensors: list[Tensor], shape: torch.Size) -> Tensor:
    """Joins the tensors, and applies the steps of the rule if there is one. Raises _MisfitError."""
    step: RuleStep | None = None
    try:
        value = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        if match is not None:
            for step in match[0].steps:
                value = _apply(step.name, step.numbers(match[1]), value, shape)
    except (RuntimeError, IndexError, TypeError):
        raise _MisfitError(f" (`{step.text}` is impossible)" if step else " (cannot be concatenated)") from None
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
