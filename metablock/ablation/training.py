"""One training: a network, a recipe, a data set and a seed. The same four give the same numbers, interrupted or not."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..api import assemble
from ..backend.block import Block
from ..backend.compiler import compile
from ..errors import MetablockError
from ..front import front
from ..language.spec import Spec
from .augment import augment, check_augmentation, step_seed
from .data import Data, Split
from .losses import distillation, loss, soft_targets
from .recipe import Recipe
from .results import Epoch

_ORDER, _AUGMENT, _MODEL = 0, 1, 2  # purposes of random numbers
_EVAL_BATCH = 256

Report = Callable[[Epoch], None]
Step = Callable[[int, int], None]


class TrainingError(Exception):
    """A run that cannot go on: its loss is no number, memory is full. The text says where."""


@dataclass(frozen=True)
class Options:
    """Where and how it runs; nothing that the results should depend on, but for rounding."""

    device: str = "cpu"
    compiled: bool = False
    threads: int = 0  # of torch on the CPU; 0: as they are


def train(
    spec: Spec,
    data: Data,
    recipe: Recipe,
    seed: int,
    *,
    checkpoint: Path | None = None,
    options: Options | None = None,
    teacher: nn.Module | None = None,
    report: Report = lambda epoch: None,
    step: Step = lambda done, total: None,
) -> tuple[Block, list[Epoch]]:
    """Trains a network from its first weights, or from where a checkpoint left it.

    Args:
        spec: resolved, with the data's input and classes.
        data: what it learns.
        recipe: how.
        seed: of the first weights (parameter by parameter, by their names), the order, the augmentation and the dropout.
        checkpoint: a file that is written after every epoch, in one step; where it exists the run goes on from it.
        options: the device, compilation.
        teacher: for recipes that distil, in evaluation.
        report: told of every epoch, those of a checkpoint included.
        step: told after every step how many of the epoch are done.

    Returns:
        The network, with averaged weights where the recipe averages, and its epochs.

    Raises:
        TrainingError: the loss is no number, or memory is full.
        MetablockError: the recipe does not fit the data, or the network its classes.
    """
    check_augmentation(recipe, data.input)
    if recipe.distill != "none" and teacher is None:
        raise MetablockError("the recipe distils, and there is no teacher\n  name one: --teacher SPEC --teacher-weights FILE")
    options = options or Options()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        return _Run(spec, data, recipe, seed, options, teacher).go(checkpoint, report, step)
    except torch.OutOfMemoryError:
        raise TrainingError(f"out of memory on {options.device} with a batch of {recipe.batch}") from None


class _Run:
    def __init__(self, spec: Spec, data: Data, recipe: Recipe, seed: int, options: Options, teacher: nn.Module | None) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state="RANK" not in os.environ)  # of a run before, in this process
        GradientState._reset_state()
        kind = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[recipe.precision]
        self.accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision=kind)
        self.device = torch.device(options.device) if options.device != "cuda" else self.accelerator.device
        self.data, self.recipe, self.seed = data, recipe, seed
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        if recipe.batch % self.world:
            raise MetablockError(f"a batch of {recipe.batch} on {self.world} processes\n  their number must divide it")
        self.bare = assemble(*front(spec, large=True), seed=seed).to(self.device)
        self.optimizer = optimizer_of(self.bare, recipe)
        self.average = (
            torch.optim.swa_utils.AveragedModel(
                self.bare, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.ema), use_buffers=True
            )
            if recipe.ema
            else None
        )
        network: nn.Module = compile(self.bare) if options.compiled else self.bare
        self.model, self.optimizer = self.accelerator.prepare(network, self.optimizer, device_placement=[False, False])
        self.teacher = teacher.to(self.device).eval() if teacher is not None else None
        self.steps = max(1, len(data.train) // recipe.batch)
        self.epochs: list[Epoch] = []

    # Epochs

    def go(self, checkpoint: Path | None, report: Report, step: Step) -> tuple[Block, list[Epoch]]:
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        for epoch in self.epochs:
            report(epoch)
        for number in range(len(self.epochs), self.recipe.epochs):
            self.epochs.append(self.epoch(number, step))
            if checkpoint is not None and self.accelerator.is_main_process:
                self.save(checkpoint)
            report(self.epochs[-1])
        return self.evaluated(), self.epochs

    def epoch(self, number: int, step: Step) -> Epoch:
        started = time.perf_counter()
        self.model.train()
        total, lr = torch.zeros((), device=self.device), 0.0
        for at, (x, y) in enumerate(self.batches(number)):
            lr = self.set_rate(number * self.steps + at)
            value = self.one(number, at, x.to(self.device), y.to(self.device))
            total += value
            if at % 50 == 49 or at == self.steps - 1:
                self.check(total, number, at)
            step(at + 1, self.steps)
        measured = (number + 1) % self.recipe.evaluate_every == 0 or number + 1 == self.recipe.epochs
        val_loss, top1 = self.evaluate() if measured else (None, None)
        mean = float(self.accelerator.reduce(total / self.steps, "mean"))
        return Epoch(number + 1, mean, val_loss, top1, lr, time.perf_counter() - started)

    def check(self, total: Tensor, epoch: int, step: int) -> None:
        if not torch.isfinite(total):
            raise TrainingError(f"the loss is no number any more (epoch {epoch + 1}, by step {step + 1} of {self.steps})")

    def one(self, epoch: int, step: int, x: Tensor, y: Tensor) -> Tensor:
        """A step on a batch; its loss."""
        recipe = self.recipe
        with torch.no_grad():
            torch.manual_seed(step_seed(self.seed, epoch, step, _AUGMENT) + self.rank)
            x, targets = augment(recipe, x, y, self.data.classes)
        torch.manual_seed(step_seed(self.seed, epoch, step, _MODEL) + self.rank)  # dropout and stochastic depth
        with self.accelerator.autocast():
            outputs = logits_of(self.model(x))
        self.fits(outputs)
        value = torch.stack([loss(recipe, logits, targets) for logits in outputs]).mean()
        if self.teacher is not None and recipe.distill != "none":
            with torch.no_grad():
                told = _mean(logits_of(self.teacher(x)))
            if len(outputs) > 1:  # a head for the labels, one for the teacher
                value = loss(recipe, outputs[0], targets)
            value = (1 - recipe.distill_weight) * value + recipe.distill_weight * distillation(recipe, outputs[-1], told)
        self.accelerator.backward(value)
        if recipe.clip:
            self.accelerator.clip_grad_norm_(self.bare.parameters(), recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.bare)
        return value.detach()

    def fits(self, outputs: Sequence[Tensor]) -> None:
        if not outputs or outputs[0].shape[-1] != self.data.classes:
            shown = tuple(outputs[0].shape[1:]) if outputs else "no vector"
            raise MetablockError(
                f"the network gives {shown}, the data has {self.data.classes} classes\n  end it with `linear(classes)`"
            )

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of each batch, in the order of the epoch. The next one is read while this one is used."""
        generator = torch.Generator().manual_seed(step_seed(self.seed, epoch, 0, _ORDER))
        order = torch.randperm(len(self.data.train), generator=generator).tolist()
        size = min(self.recipe.batch, len(order))
        share = size // self.world
        parts = [
            order[start + self.rank * share : start + (self.rank + 1) * share] for start in range(0, self.steps * size, size)
        ]
        yield from _ahead(self.data.train, parts)

    # Schedule

    def set_rate(self, at: int) -> float:
        recipe = self.recipe
        peak = recipe.lr * (recipe.batch / recipe.lr_batch if recipe.lr_batch else 1)
        warm, every = recipe.warmup * self.steps, recipe.epochs * self.steps
        if at < warm:
            rate = peak * (at + 1) / warm if warm >= 1 else peak
        elif recipe.schedule == "cosine":
            rate = recipe.min_lr + (peak - recipe.min_lr) * 0.5 * (1 + math.cos(math.pi * (at - warm) / max(1, every - warm)))
        else:
            rate = peak
        rate = min(rate, peak)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        return rate

    # Evaluation

    def evaluated(self) -> Block:
        return cast(Block, self.average.module) if self.average is not None else self.bare

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Loss and top-1 accuracy in per cent on the validation set."""
        model: nn.Module = self.average.module if self.average is not None else self.model
        model.eval()
        found = torch.zeros(3, dtype=torch.float64, device=self.device)
        indices = list(range(len(self.data.val)))[self.rank :: self.world]
        parts = [indices[start : start + _EVAL_BATCH] for start in range(0, len(indices), _EVAL_BATCH)]
        for x, y in _ahead(self.data.val, parts):
            x, y = x.to(self.device), y.to(self.device)
            with self.accelerator.autocast():
                logits = _mean(logits_of(model(x)))
            self.fits([logits])
            value = loss(self.recipe, logits, soft_targets(y, self.data.classes, 0.0))
            found += torch.stack(
                [value.double() * len(y), (logits.argmax(-1) == y).double().sum(), y.new_tensor(len(y)).double()]
            )
        found = self.accelerator.reduce(found, "sum")
        total, right, count = found.tolist()
        return total / max(1, count), 100 * right / max(1, count)

    # Checkpoints

    def save(self, path: Path) -> None:
        state: dict[str, Any] = {
            "model": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.bare.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            if self.accelerator.scaler is not None and state["scaler"]:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        except Exception as wrong:  # cut off, or of another version
            raise MetablockError(
                f"{path}: this checkpoint cannot be read: {str(wrong).splitlines()[0]}\n  remove it, the run begins anew"
            ) from None


def _ahead(split: Split, parts: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(split.get, parts[0]) if parts else None
        for number in range(len(parts)):
            assert following is not None
            batch = following.result()
            following = reader.submit(split.get, parts[number + 1]) if number + 1 < len(parts) else None
            yield batch


def logits_of(output: Any) -> list[Tensor]:
    """The vectors among what a network gives: one, or several heads."""
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else [output]
    return [value for value in values if isinstance(value, Tensor) and value.dim() == 2]


def _mean(logits: Sequence[Tensor]) -> Tensor:
    return logits[0] if len(logits) == 1 else torch.stack(list(logits)).mean(0)


def optimizer_of(model: Block, recipe: Recipe) -> torch.optim.Optimizer:
    """Groups by decay (matrices and kernels have it) and by distance from the head."""
    factors = _factors(model, recipe.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            vector = parameter.squeeze().dim() <= 1 or "position" in name or "class_token" in name
            groups.setdefault((0.0 if vector else recipe.weight_decay, factors[name]), []).append(parameter)
    options = [{"params": params, "weight_decay": decay, "factor": factor} for (decay, factor), params in groups.items()]
    if not options:
        raise MetablockError("the network has no parameter that is trained\n  leave something out of `freeze`")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(options, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return torch.optim.AdamW(options, lr=recipe.lr, betas=(recipe.momentum, recipe.beta2))


def _factors(model: Block, decay: float) -> dict[str, float]:
    """Of the learning rate, by parameter: 1 in the head, ``decay`` for each block further away."""
    blocks = [name for name, module in model.named_modules() if isinstance(module, Block) and module.region in ("block", "down")]
    count = len(blocks) + 1
    result = {}
    for name, _ in model.named_parameters():
        inside = next((i for i, block in enumerate(blocks) if name.startswith(f"{block}.")), None)
        layer = inside + 1 if inside is not None else 0 if name.startswith("stem") else count
        result[name] = decay ** (count - layer)
    return result


__all__ = ["Options", "TrainingError", "train"]
