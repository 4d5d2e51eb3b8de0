"""Loads checkpoints: ours, the official repository's or timm's, by the rules of :mod:`metablock.language.weight_rules`."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MetablockError, MetablockWarning, suggest
from ..front import InputSize
from ..language.spec import Spec
from ..language.weight_rules import OURS, Fit, NetworkFacts, ReadyRule, Rules, blocks_in, read_rules
from ..language.weight_rules.rule import EVERY
from .applying import MisfitError, apply_rule, composed
from .checkpoint import Part, is_statistic, parts, read_checkpoint, read_state
from .ends import class_layers, first_kernels
from .grids import HINT, Tables, UnknownGridError
from .numbered import gathered, numbered
from .report import NO_RULE, WeightReport, WeightsError

State = Mapping[str, Tensor]
# Batch norm's counters: evaluation does not read them.
_OPTIONAL = "num_batches_tracked"
# The kinds of numbers that weights are.
_NUMBERS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_MOST_PREFIXES = 8  # that are tried of one part


@dataclass(frozen=True)
class _Source:
    """The names of one kind of checkpoint: for each of our tensors the rule and its keys, none for one without a rule."""

    name: str
    rules: Rules
    keys: Mapping[str, tuple[tuple[ReadyRule, Fit] | None, tuple[str, ...]]]

    @property
    def wanted(self) -> set[str]:
        return {key for _, keys in self.keys.values() for key in keys}

    @property
    def needed(self) -> set[str]:
        names = {key for name, (_, keys) in self.keys.items() if not name.endswith(_OPTIONAL) for key in keys}
        return {name for name in names if EVERY not in name}


@dataclass(frozen=True)
class _Attempt:
    part: Part
    prefix: str
    values: dict[str, Tensor]
    report: WeightReport

    @property
    def rank(self) -> tuple[int, int, int]:
        return self.part.rank(self.prefix)


def load_weights(
    model: nn.Module,
    state: Mapping[str, Any],
    spec: Spec,
    source: str | None = None,
    *,
    input: InputSize | None = None,
) -> WeightReport:
    """Loads a state dict into a model. The model changes only if every tensor of both sides is accounted for.

    Args:
        model: built from ``spec``. On ``meta`` the weights are only checked, not copied.
        state: names and tensors of a checkpoint, also as a training script wraps them: in entries (``state_dict``, ``ema``), with
            prefixes (``module.``, ``model.``). Averaged weights are preferred, and the report says what was taken.
        spec: holds the rules.
        source: whose names the checkpoint has (``ours`` or a table of `weights:`); by default those that fit best.
        input: the input size that the checkpoint was trained on, ``"3x384x384"``. A state dict of ours says on which grids its
            tables lie; others are taken for squares, unless they have as many rows as ours that are none. The report says both.

    Returns:
        Which tensor came from where.

    Warns:
        MetablockWarning: some of the weights are NaN or infinite.

    Raises:
        WeightsError: tensors are missing, left over, of another shape or no plain numbers; the text lists them.
        MetablockError: an unknown source, no tensors at all, several networks that fit; its subclass SpecError for malformed
            rules.

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
    own, network = model.state_dict(), network_of(model, spec)
    fitter = _Fitter(spec, model, input)
    sources = [_source(name, own, spec, network) for name in ([source] if source is not None else known)]
    attempts = list(_attempts(state, own, sources, fitter))
    if not attempts:
        raise MetablockError(f"the weights for '{spec.name}' hold no tensors", "a mapping from names to tensors is expected")
    complete = [attempt for attempt in attempts if attempt.report.complete]
    if not complete:
        raise WeightsError(spec.name, _nearest(attempts, network, sources))
    best = min(complete, key=lambda attempt: attempt.rank)
    _refuse_ambiguous(best, complete)
    report = best.report
    report.taken = best.part.shown(best.prefix)
    if best.rank[0]:
        averaged = {attempt.part.shown(attempt.prefix) for attempt in attempts if not attempt.rank[0]}
        report.notes += [f"{shown} holds averaged weights that do not fit" for shown in sorted(averaged)]
    if not any(tensor.is_meta for tensor in own.values()):
        model.load_state_dict(best.values, strict=False)
    if report.assumed:
        report.notes.append(f"if tables lie on another grid than ours, {HINT}")
    if report.nonfinite:
        names = ", ".join(report.nonfinite[:3]) + (" ..." if len(report.nonfinite) > 3 else "")
        warnings.warn(f"NaN or infinite weights in '{spec.name}': {names}", MetablockWarning, stacklevel=2)
    return report


def fitting(
    model: nn.Module, state: Mapping[str, Any], spec: Spec, *, input: InputSize | None = None
) -> tuple[dict[str, Tensor], WeightReport]:
    """The tensors of a state dict of our names that fit a model, in its shapes, and a report of all. Nothing is copied.

    Args:
        model: built from ``spec``.
        state: names and tensors.
        spec: what the model was built from.
        input: the input size that the tensors belong to.

    Raises:
        MetablockError: there are no tensors.

    >>> import metablock
    >>> model = metablock.build("resnet18", device="meta")
    >>> values, report = fitting(model, {"head.linear.bias": torch.zeros(1000), "other": torch.zeros(1)}, model.spec)
    >>> list(values), report.left, len(report.missing)
    (['head.linear.bias'], ['other'], 101)
    """
    own = model.state_dict()
    part = max(parts(state), key=lambda part: len(part.tensors), default=None)
    if part is None or not part.tensors:
        raise MetablockError(f"the weights for '{spec.name}' hold no tensors", "a network with weights is expected")
    values, report = _match(own, part.below(""), _source(OURS, own, spec, network_of(model, spec)), _Fitter(spec, model, input))
    return values, report


def _source(name: str, own: State, spec: Spec, network: NetworkFacts) -> _Source:
    rules = Rules((), ()) if name == OURS else read_rules(spec, name)
    keys: dict[str, tuple[tuple[ReadyRule, Fit] | None, tuple[str, ...]]] = {}
    for ours in own:
        match = rules.find(ours, network)
        theirs = [key.fill(match[1]) for key in match[0].keys] if match else [ours] if name == OURS else []
        keys[ours] = match, tuple(theirs)
    return _Source(name, rules, keys)


def _attempts(state: Mapping[Any, Any], own: State, sources: Sequence[_Source], fitter: _Fitter) -> Iterator[_Attempt]:
    """Every way in which a part of a checkpoint may be meant: its names with and without the prefixes that occur."""
    largest: Part | None = None
    count = 0
    for part in parts(state):
        if largest is None or len(part.tensors) > len(largest.tensors):
            largest = part
        for source in sources:
            for prefix in _prefixes(part, source):
                count += 1
                yield _attempt(part, prefix, own, source, fitter)
    if largest is not None and not count:
        for source in sources:
            yield _attempt(largest, "", own, source, fitter)


def _prefixes(part: Part, source: _Source) -> list[str]:
    """The prefixes without which names of a part are names of a source: those that leave none missing, or else the best one."""
    wanted, needed = source.wanted, source.needed
    votes: Counter[str] = Counter()
    fit: Counter[str] = Counter()
    for name in part.tensors:
        at = 0
        while True:
            short = name[at:]
            votes[name[:at]] += short in wanted
            fit[name[:at]] += short in needed
            dot = name.find(".", at)
            if dot < 0:
                break
            at = dot + 1
    votes = Counter({prefix: count for prefix, count in votes.items() if not is_statistic(prefix)})
    whole = [prefix for prefix, count in fit.items() if count == len(needed) and votes[prefix]]
    if whole:
        return sorted(whole, key=lambda prefix: prefix.count("."))[:_MOST_PREFIXES]
    best = max(votes, key=lambda prefix: (votes[prefix], -prefix.count(".")), default="")
    return [best] if votes[best] else []


def _attempt(part: Part, prefix: str, own: State, source: _Source, fitter: _Fitter) -> _Attempt:
    inner = part.below(prefix)
    values, report = _match(own, inner, source, fitter)
    report.skipped = list(inner.others)
    report.beside = [name for name in part.tensors if not name.startswith(prefix)]
    return _Attempt(part, prefix, values, report)


def _nearest(attempts: Sequence[_Attempt], network: NetworkFacts, sources: Sequence[_Source]) -> WeightReport:
    """The report of the attempt with the fewest misfits, with what could be done."""
    best: dict[str, _Attempt] = {}
    for attempt in sorted(attempts, key=lambda attempt: (*_distance(attempt.report), attempt.rank)):
        best.setdefault(attempt.report.source, attempt)
    first, *others = best.values()
    report = first.report
    report.taken = first.part.shown(first.prefix)
    rules = next(source.rules for source in sources if source.name == report.source)
    unruled = [name.removesuffix(NO_RULE) for name in report.missing if name.endswith(NO_RULE)]
    report.notes += rules.dead_ends(unruled, network)
    report.notes += rules.misses(unruled, network) if unruled else []
    for other in (attempt.report for attempt in others):
        if other.used:
            fit = f"{len(other.used)} of {other.total} fit; {other.lacks()}"
            lists = f'build(..., weights=..., names="{other.source}"), or --names {other.source}, lists all'
            report.notes.append(f"by the names of '{other.source}' {fit}: {lists}")
    return report


def _distance(report: WeightReport) -> tuple[bool, int, int]:
    """How far a checkpoint is from the names of a source. Names of ours are meant only if most of them occur."""
    return report.source == OURS and 2 * len(report.used) < report.total, report.misfits, -len(report.used)


def _refuse_ambiguous(best: _Attempt, complete: Sequence[_Attempt]) -> None:
    """Raises MetablockError if another part of the checkpoint fits as well, is preferred as much, and has other numbers."""
    for other in complete:
        if other.rank != best.rank or (other.part.path, other.prefix) == (best.part.path, best.prefix):
            continue
        if any(not _same(best.values[name], other.values.get(name)) for name in best.values):
            both = f"{best.part.shown(best.prefix)} and {other.part.shown(other.prefix)}"
            raise MetablockError(f"the checkpoint holds several networks that fit: {both}", "pass one of them as a state dict")


def _same(a: Tensor, b: Tensor | None) -> bool:
    return b is not None and (a is b or (not a.is_meta and not b.is_meta and torch.equal(a, b)))


class _Fitter:
    """Fits the tensors of a checkpoint to a network with another input size, other channels or other classes, as timm does."""

    def __init__(self, spec: Spec, model: nn.Module, input: InputSize | None):
        self.classes = spec.classes
        self.tables = Tables(model, spec, input)
        self.kernels = first_kernels(model)
        self.class_layers = class_layers(model, spec.classes)

    def fit(self, name: str, value: Tensor, ours: Tensor, part: Part, report: WeightReport, joined: bool) -> Tensor:
        """The value in our shape; what was done goes into the report.

        ``joined``: a rule computed the value, so the message of a misfit has its shape. Raises MisfitError.
        """
        try:
            table = self.tables.placed(name, value, ours.shape, part.grids)
        except UnknownGridError as unknown:
            raise MisfitError(f" ({unknown})", HINT) from None
        if table is not None and table.resized:
            value, report.grids[name] = table.value, table.resized
            report.resized.append(name)
        if value.shape != ours.shape and (adapted := self.adapted(name, value, ours)) is not None:
            value, action = adapted
            report.initial += [name] * (value is ours)
            report.adapted.append(f"{name} ({action})")
        if table is not None and table.assumed:
            report.assumed[name] = table.assumed
        if value.shape == ours.shape:
            return value
        if [n for n in value.shape if n != 1] != [n for n in ours.shape if n != 1]:
            hint = HINT if name in self.tables.tables else None
            raise MisfitError(f" (made {tuple(value.shape)})" if joined else "", hint)
        report.reshaped.append(name)
        return value.reshape(ours.shape)

    def adapted(self, name: str, value: Tensor, ours: Tensor) -> tuple[Tensor, str] | None:
        """A layer's weights for our classes or channels, and what was done; None if something else differs."""
        theirs = value.shape
        if len(theirs) != len(ours.shape) or not theirs:
            return None
        differs = [axis for axis, (a, b) in enumerate(zip(theirs, ours.shape, strict=True)) if a != b]
        if differs == [0] and name in self.class_layers:
            return ours, f"{theirs[0]} classes there, {self.classes} here: as initialised"
        if differs == [1] and name in self.kernels:
            return _channels(value, ours.shape[1]), f"{theirs[1]} channels there, {ours.shape[1]} here"
        return None


def _channels(kernel: Tensor, channels: int) -> Tensor:
    """A first kernel for another number of input channels: summed for one, otherwise repeated and scaled to the same sum."""
    if channels == 1:
        return kernel.sum(1, keepdim=True)
    have = kernel.shape[1]
    index = torch.arange(channels, device=kernel.device) % have
    return kernel[:, index] * (have / channels)


def network_of(model: nn.Module, spec: Spec | None = None) -> NetworkFacts:
    """What rules may ask of a model; ``spec``: what it was built from."""
    return NetworkFacts(tuple(blocks_in(name for name, _ in model.named_modules())), tuple(model.state_dict()), spec)


def _match(own: State, part: Part, source: _Source, fitter: _Fitter) -> tuple[dict[str, Tensor], WeightReport]:
    """The values for our tensors by the rules of one source, and the report of what fits."""
    report, values, state = WeightReport(source.name), dict[str, Tensor](), part.tensors
    taken: set[str] = set()
    for name, parameter in own.items():
        match, patterns = source.keys[name]
        groups = [numbered(pattern, state) for pattern in patterns]
        keys = [key for group in groups for key in group]
        if not keys or any(key not in state for key in keys):
            if not name.endswith(_OPTIONAL):
                report.missing.append(_missing(name, keys, state))
                report.rules |= {name: str(match[0])} if match is not None else {}
            continue
        taken.update(keys)
        tensors = [state[key] for key in keys]
        joined = match is not None and match[0].source.moves
        try:
            for tensor in tensors:
                _check_numbers(tensor, parameter)
            counter = name.endswith(_OPTIONAL) and all(tensor.dim() == 0 for tensor in tensors)
            value = tensors[0].detach() if counter else composed(match, _gathered(groups, tensors), parameter.shape)
            value = fitter.fit(name, value, parameter, part, report, joined)
        except MisfitError as misfit:
            shapes = " ++ ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in zip(keys, tensors, strict=True))
            report.wrong.append(f"{name} {tuple(parameter.shape)} from {shapes}{misfit}")
            report.rules |= {name: str(match[0])} if match is not None else {}
            if misfit.hint is not None and misfit.hint not in report.notes:
                report.notes.append(misfit.hint)
            continue
        values[name] = value
        if value is not parameter and not value.is_meta:
            _check_range(name, value, parameter, report)
        report.used[name] = " ++ ".join(keys)
    report.shapes = {key: tuple(state[key].shape) for key in sorted(taken)}
    report.unused = {key: tuple(value.shape) for key, value in state.items() if key not in taken}
    report.left = [key for key in state if key not in taken and not key.endswith(_OPTIONAL) and not source.rules.ignored(key)]
    return values, report


def _gathered(groups: list[list[str]], tensors: list[Tensor]) -> list[Tensor]:
    """As :func:`gathered`. Raises MisfitError for tensors that cannot be concatenated."""
    try:
        return gathered(groups, tensors)
    except RuntimeError:
        raise MisfitError(" (cannot be concatenated)") from None


def _check_numbers(tensor: Tensor, ours: Tensor) -> None:
    """Raises MisfitError for a tensor of a checkpoint that holds no plain numbers of our kind."""
    if tensor.is_quantized:
        raise MisfitError(" (quantised)", "`.dequantize()` gives the numbers of a quantised tensor")
    if tensor.is_nested or tensor.layout != torch.strided:
        raise MisfitError(" (sparse)", "`.to_dense()` gives all numbers of a sparse tensor")
    if tensor.is_meta and not ours.is_meta:
        raise MisfitError(" (on meta, without numbers)", "save the weights from the device that holds them")
    if ours.is_floating_point() and tensor.dtype not in _NUMBERS:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise MisfitError(f" ({kind})", "weights are float64, float32, float16 or bfloat16")


def _check_range(name: str, value: Tensor, ours: Tensor, report: WeightReport) -> None:
    """Reports a tensor that holds NaN or infinite numbers, by itself or in our dtype."""
    if not value.is_floating_point() or bool(value.to(ours.dtype).isfinite().all()):
        return
    report.nonfinite.append(name)
    if ours.dtype != value.dtype and bool(value.isfinite().all()):
        kind = str(ours.dtype).removeprefix("torch.")
        note = f"some numbers are too large for {kind}: dtype='float32' or 'bfloat16' holds larger ones (--dtype)"
        if note not in report.notes:
            report.notes.append(note)


def _missing(name: str, keys: Sequence[str], state: State) -> str:
    """One of our tensors, with the keys that the checkpoint lacks."""
    if list(keys) == [name]:
        return name
    return f"{name} ({', '.join(key for key in keys if key not in state)})" if keys else f"{name}{NO_RULE}"


__all__ = ["WeightReport", "WeightsError", "apply_rule", "load_weights", "network_of", "read_checkpoint", "read_state"]
