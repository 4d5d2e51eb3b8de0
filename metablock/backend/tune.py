"""The fastest way to compile a network on this machine: each is measured once, and the choice is kept on disk."""

from __future__ import annotations

import copy
import inspect
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from .. import cache
from ..errors import MetablockError
from ..lowering.ir import Subgraph
from .codegen import Sources
from .random_input import random_input
from .trial import alone, measure, reason
from .ways import WAYS

MODES = ("default", "reduce-overhead", "max-autotune")
_KIND = "tune"


@dataclass(frozen=True)
class Candidate:
    """One way to compile: arguments of :func:`metablock.compile`, ``mode`` being that of ``torch.compile``.

    >>> print(Candidate("whole", channels_last=True))
    whole, channels-last, default
    """

    way: str
    channels_last: bool = False
    mode: str = "default"
    fused: bool | None = None
    freeze: bool = False

    def __str__(self) -> str:
        memory, fused = "channels-last" if self.channels_last else "as built", {True: "fused kernels", False: "plain kernels"}
        texts = (self.way, memory, self.mode, fused.get(self.fused) if self.fused is not None else None, "frozen" * self.freeze)
        return ", ".join(text for text in texts if text)


@dataclass(frozen=True)
class Trial:
    """A candidate and what it did.

    Attributes:
        candidate: the way to compile.
        seconds: of a pass, the median; in training of a forward and backward. None: it failed.
        compiling: seconds until the first pass was done.
        failure: why it failed, in a line.
    """

    candidate: Candidate
    seconds: float | None = None
    compiling: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Tuning:
    """What :func:`tune` found; ``print`` shows it as a table.

    Attributes:
        trials: the fastest first; failures last.
        device, dtype, batch: what it holds for.
        training: of a forward and backward; otherwise of inference.
        recalled: whether it comes from the cache.
    """

    trials: tuple[Trial, ...]
    device: str
    dtype: str
    batch: int
    training: bool
    recalled: bool = False

    @property
    def best(self) -> Candidate:
        """The fastest."""
        return self.trials[0].candidate

    def cells(self) -> list[tuple[str, str, str]]:
        """A line a trial: the way, milliseconds a pass (or why there are none), and how much longer it takes than the fastest."""
        fastest = self.trials[0].seconds or 1.0
        return [
            (str(one.candidate), one.failure or "failed", "")
            if one.seconds is None
            else (str(one.candidate), _time(one.seconds), f"{one.seconds / fastest:.2f}")
            for one in self.trials
        ]

    def __str__(self) -> str:
        rows = self.cells()
        width = max(len(row[0]) for row in rows)
        kind = "training step" if self.training else "inference"
        head = f"{kind}, batch {self.batch}, {self.dtype}, {self.device}" + ", from the cache" * self.recalled
        return "\n".join([head, *(f"  {first:<{width}}  {second:>9}  {third}".rstrip() for first, second, third in rows)])


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def tune(
    model: nn.Module,
    example: Tensor | Sequence[Tensor] | None = None,
    *,
    batch: int = 1,
    fixed: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Measures the ways to compile a model, in the mode that it is in, or recalls what an earlier call found.

    Every way is tried on a copy: the model stays as it is. Between trials torch forgets what it has compiled in this process;
    what was compiled before is compiled again when it is next called.

    Args:
        model: a network of :func:`metablock.build`, on its device, in its dtype, in evaluation or in training.
        example: its inputs; None: random ones of its own size.
        batch: the number of examples in random inputs.
        fixed: arguments of :func:`metablock.compile` that are not to vary. With ``freeze`` ways with and without it are tried.
        progress: called with a text before each trial.

    Raises:
        MetablockError: an example that is none; a model without inputs of its own; every way failed.
    """
    fixed = {key: value for key, value in (fixed or {}).items() if value is not None}
    inputs = _inputs(model, example, batch)
    first = next(model.parameters(), inputs[0])
    device, dtype = first.device, str(first.dtype).removeprefix("torch.")
    if device.type == "meta":
        raise MetablockError("nothing can be measured on 'meta'", "build the model on the device where it will run")
    about = Tuning((), _name(device), dtype, len(inputs[0]), model.training)
    every = candidates(model, device.type, fixed)
    key = _key(model, inputs, about, every, fixed)
    if (recalled := _recall(key, about, every)) is not None:
        return recalled
    trials = []
    for number, candidate in enumerate(every, 1):
        progress(f"trying {number} of {len(every)}: {candidate}")
        trials.append(_try(model, inputs, candidate, fixed))
    trials.sort(key=lambda one: (one.seconds is None, one.seconds))  # stable: equal ones keep their order
    if trials[0].seconds is None:
        raise MetablockError(f"the network compiles in no way: {trials[0].candidate}: {trials[0].failure}", "leave tuning out")
    result = replace(about, trials=tuple(trials))
    _keep(key, result)
    return result


def compile_tuned(model: nn.Module, example: Any, **fixed: Any) -> nn.Module:
    """Compiles a model in place in the fastest way, prints the :class:`Tuning`, and leaves it as ``model.tuned``.

    Args:
        model: as of :func:`tune`.
        example: True: random inputs, one example; otherwise the inputs.
        fixed: arguments of :func:`metablock.compile` that are not to vary.
    """
    tuning = tune(model, None if example is True else example, fixed=fixed)
    apply(model, tuning.best, fixed)
    model.tuned = tuning  # type: ignore[assignment]
    print(tuning)
    return model


def apply(model: nn.Module, candidate: Candidate, fixed: Mapping[str, Any] | None = None) -> nn.Module:
    """Compiles a model in place in the way of a candidate; ``fixed`` are further arguments of :func:`metablock.compile`."""
    from .compiler import compile

    own = {field.name for field in fields(Candidate)}
    rest = {key: value for key, value in (fixed or {}).items() if value is not None and key not in own}
    return compile(model, **rest, **_settings(candidate))


def _try(model: nn.Module, inputs: Sequence[Tensor], candidate: Candidate, fixed: Mapping[str, Any]) -> Trial:
    """Measures a candidate on a copy of the model."""
    try:
        with alone(inputs[0].device):
            seconds, compiling = measure(apply(copy.deepcopy(model), candidate, fixed), inputs)
        return Trial(candidate, seconds, compiling)
    except Exception as problem:  # each back end raises exceptions of its own; the next way may work
        return Trial(candidate, failure=reason(problem))


def candidates(model: nn.Module, device: str, fixed: Mapping[str, Any]) -> list[Candidate]:
    """The ways to try: those that make sense on a type of device.

    Args:
        model: memory formats are tried if it has convolutions in two or three dimensions.
        device: ``"cpu"``, ``"cuda"``: modes and fused kernels are tried there.
        fixed: what is not to vary.

    >>> [str(one) for one in candidates(nn.Linear(2, 2), "cpu", {"way": "whole"})]
    ['whole, as built, default']
    """
    convolutional = any(isinstance(module, (nn.Conv2d, nn.Conv3d)) for module in model.modules())
    known = _known()
    inductor = fixed.get("backend", "inductor") == "inductor"
    several = device != "cpu" and inductor and "options" not in fixed
    ways = [fixed["way"]] if "way" in fixed else list(WAYS)
    formats = [fixed["channels_last"]] if "channels_last" in fixed else [False, True] if convolutional else [False]
    modes = [fixed["mode"]] if "mode" in fixed else list(MODES) if several else ["default"]
    fused = [fixed["fused"]] if "fused" in fixed else [True, False] if several and "fused" in known else [None]
    result = [Candidate(*choice) for choice in product(ways, formats, modes, fused)]
    if fixed.get("freeze"):  # a frozen model is one graph
        result += list(dict.fromkeys(replace(one, way="whole", freeze=True) for one in result))
    return result


def _known() -> set[str]:
    from .compiler import compile

    return set(inspect.signature(compile).parameters)


def _settings(candidate: Candidate) -> dict[str, Any]:
    """A candidate as arguments of compile."""
    settings: dict[str, Any] = {"way": candidate.way, "channels_last": candidate.channels_last, "freeze": candidate.freeze}
    if candidate.fused is not None:
        settings["fused"] = candidate.fused
    if candidate.mode != "default":
        settings["mode"] = candidate.mode
    return settings


def _inputs(model: nn.Module, example: Tensor | Sequence[Tensor] | None, batch: int) -> list[Tensor]:
    if example is None:
        features = getattr(model, "inputs", None)
        if not features:
            raise MetablockError("the model does not say what enters it", "give an example: tune=x, or tune=(x, y)")
        weight = next(model.parameters(), torch.empty(0))
        generator = torch.Generator().manual_seed(0)
        return [random_input(feature, batch, weight.device, weight.dtype, generator) for feature in features]
    inputs = [example] if isinstance(example, Tensor) else list(example) if isinstance(example, (list, tuple)) else []
    if not inputs or not all(isinstance(one, Tensor) and one.dim() for one in inputs):
        raise MetablockError(
            f"{type(example).__name__} is no example", "tune=True, tune=x, or tune=(x, y), of tensors with a batch"
        )
    return inputs


# Remembering


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "CPU"


def _key(
    model: nn.Module, inputs: Sequence[Tensor], about: Tuning, every: Sequence[Candidate], fixed: Mapping[str, Any]
) -> str | None:
    """What the choice depends on, hashed; None: it cannot be kept."""
    version = cache.fingerprint()
    if version is None:
        return None
    root = getattr(model, "ir", None)
    network = Sources().describe(root) if isinstance(root, Subgraph) else repr(model)
    weights = [(name, tuple(one.shape), one.stride(), str(one.dtype)) for name, one in model.named_parameters()]
    sizes = [(tuple(one.shape), one.stride(), str(one.dtype)) for one in inputs]
    machine = (about.device, torch.__version__, about.training, [str(one) for one in every], sorted(map(repr, fixed.items())))
    return cache.digest(version, network, repr(weights), repr(sizes), repr(machine))


def _keep(key: str | None, tuning: Tuning) -> None:
    if key is not None:
        trials = [asdict(one) for one in tuning.trials]
        cache.store(_KIND, key, json.dumps(trials).encode())


def _recall(key: str | None, about: Tuning, every: Sequence[Candidate]) -> Tuning | None:
    """An earlier tuning: only if it has the very candidates of today; anything else counts as none."""
    data = cache.load(_KIND, key) if key is not None else None
    if data is None:
        return None
    try:
        trials = [Trial(**{**one, "candidate": Candidate(**one["candidate"])}) for one in json.loads(data)]
    except (ValueError, TypeError, KeyError):
        return None
    if {one.candidate for one in trials} != set(every) or not isinstance(trials[0].seconds, float):
        return None
    return replace(about, trials=tuple(trials), recalled=True)
