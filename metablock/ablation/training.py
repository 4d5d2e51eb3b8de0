"""Trains one network. The same spec, recipe, data and seed give the same numbers, interrupted or not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves

from ..api import assemble
from ..backend.block import Block
from ..backend.compiler import compile
from ..backend.device import parse_device
from ..backend.objective import loss_terms, update_averages
from ..errors import MetablockError
from ..front import front
from ..language.spec import Spec
from .augment import check_augmentation, step_seed
from .checkpoint import check_place, read_checkpoint, unreadable, write_checkpoint
from .data import Data, Split
from .identity import Identity, identity_of
from .losses import distillation, loss, soft_targets
from .objective import Batches, features_of, full, is_supervised, judged
from .optimizer import learning_rate, optimizer_of
from .places import check_device
from .reach import check_batch, unreached
from .recipe import Recipe
from .results import Epoch
from .teacher import teacher_digest

_ORDER, _AUGMENT, _MODEL = 0, 1, 2  # purposes of random numbers
_EVAL_BATCH = 256

Report = Callable[[Epoch], None]
Step = Callable[[int, int], None]  # steps of the epoch that are done, and all of them


class TrainingError(Exception):
    """A training that cannot go on: its loss is NaN or infinite, or memory is full. The text says at which step."""


@dataclass(frozen=True)
class Options:
    """Where and how a training runs. Apart from rounding, results do not depend on it.

    Attributes:
        device: ``cpu``, ``cuda``, ``mps``.
        compiled: whether the network is compiled. Compiled networks draw dropout in another order.
        threads: of torch on the CPU; 0 leaves their number as it is.

    >>> Options(device="cuda", compiled=True)
    Options(device='cuda', compiled=True, threads=0)
    """

    device: str = "cpu"
    compiled: bool = False
    threads: int = 0


def train(
    spec: Spec,
    data: Data,
    recipe: Recipe,
    seed: int,
    *,
    checkpoint: Path | None = None,
    options: Options | None = None,
    teacher: nn.Module | None = None,
    weights: str | Path | None = None,
    report: Report = lambda epoch: None,
    step: Step = lambda done, total: None,
) -> tuple[Block, list[Epoch]]:
    """Trains a network from its initial weights, or from a checkpoint.

    Args:
        spec: resolved, with the data's input and classes.
        data: the training and validation examples.
        recipe: how it is trained.
        seed: of the initial weights (each parameter's depend on the seed and its name), the order of the examples, augmentation
            and dropout.
        checkpoint: a file that is replaced after every epoch; if it exists, the training goes on from it. It says which training
            it belongs to.
        options: device and compilation.
        teacher: for a recipe that distils, or a loss that reads `teacher`.
        weights: a file of weights to begin with: of this network, or of a method's network around it.
        report: called after every epoch, and at first for those of a checkpoint.
        step: called after every step.

    Returns:
        The network, with averaged weights if the recipe averages (``ema``), and its epochs.

    Raises:
        TrainingError: the loss is NaN or infinite, or memory is full.
        MetablockError: the recipe does not fit the data or the device, there is no such device, the network does not fit the
            classes or a batch; its subclasses CheckpointError, where the checkpoint cannot be read or is of another training, and
            StorageError, where it cannot be written.

    >>> from metablock.ablation.data import load_data
    >>> from metablock.ablation.recipe import recipe
    >>> from metablock.front import parse_input, resolved
    >>> spec = resolved("poolformer_s12", edits=["depth = 1", "dim = [8, 8, 8, 8]"], classes=10, input="1x32x32")
    >>> data = load_data("digits", parse_input("1x32x32"))
    >>> model, epochs = train(spec, data, recipe("small", epochs=1, batch=256), seed=0)
    >>> len(epochs), 0 <= epochs[0].val_top1 <= 100
    (1, True)
    """
    options = options or Options()
    check_device(recipe, options.device)
    check_augmentation(recipe, data.input)
    if recipe.distill != "none" and teacher is None:
        hint = "name one: --teacher SPEC --teacher-weights FILE"
        raise MetablockError("the recipe distils, and there is no teacher", hint)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        return _Run(spec, data, recipe, seed, options, _Start(teacher, weights)).go(checkpoint, report, step)
    except torch.OutOfMemoryError:
        raise TrainingError(f"out of memory on {options.device} with a batch of {recipe.batch}") from None


@dataclass(frozen=True)
class _Start:
    """What a training is given beside its spec: a teacher, and weights to begin with."""

    teacher: nn.Module | None = None
    weights: str | Path | None = None


class _Run:
    """One training's network, optimiser and epochs."""

    def __init__(self, spec: Spec, data: Data, recipe: Recipe, seed: int, options: Options, start: _Start) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state="RANK" not in os.environ)  # of an earlier training in this process
        GradientState._reset_state()
        kind = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[recipe.precision]
        place = parse_device(options.device)
        self.accelerator = Accelerator(cpu=place.type == "cpu", mixed_precision=kind)
        self.device = self.accelerator.device if options.device == "cuda" else place
        self.data, self.recipe, self.seed = data, recipe, seed
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        if recipe.batch % self.world:
            raise MetablockError(f"a batch of {recipe.batch} on {self.world} processes", "the number of processes must divide it")
        self.size = min(recipe.batch, len(data.train))
        if self.size < self.world:
            raise MetablockError(f"{self.size} training examples for {self.world} processes", "start at most one for each")
        self.network, self.compiled = front(spec, large=True), options.compiled
        self.bare, meta = (
            assemble(*self.network, weights=start.weights, seed=seed).to(self.device),
            assemble(*self.network, device="meta"),
        )
        check_batch(meta, self.size // self.world)
        self.own_loss, self.supervised = self.bare.ir.objective is not None, is_supervised(self.bare)
        if self.world > 1:  # processes wait for each other's gradients: those that never come must be left out
            names = unreached(self.bare, meta, self.learned)
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.bare, names)
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
        self.teacher = start.teacher.to(self.device).eval() if start.teacher is not None else None
        self.given = Batches(self.bare, recipe, data, self.teacher)
        self.began = teacher_digest(self.bare) if start.weights is not None else ""
        self.steps = max(1, len(data.train) // recipe.batch)
        self.epochs: list[Epoch] = []

    # Epochs

    def go(self, checkpoint: Path | None, report: Report, step: Step) -> tuple[Block, list[Epoch]]:
        identity = self.identity() if checkpoint is not None else None
        if checkpoint is not None and identity is not None:
            self.load(checkpoint, identity)
            if self.accelerator.is_main_process:
                check_place(checkpoint)
        for epoch in self.epochs:
            report(epoch)
        for number in range(len(self.epochs), self.recipe.epochs):
            self.epochs.append(self.epoch(number, step))
            if checkpoint is not None and identity is not None and self.accelerator.is_main_process:
                write_checkpoint(checkpoint, identity, self.state())
            report(self.epochs[-1])
        return self.evaluated(), self.epochs

    def identity(self) -> Identity:
        """Which training this is, for its checkpoints."""
        taught = self.own_loss or self.recipe.distill != "none"
        teacher = (teacher_digest(self.teacher) if taught else "") + self.began
        compiled, processes = self.compiled, self.world
        return identity_of(
            self.network, self.data, self.recipe, self.seed, compiled=compiled, teacher=teacher, processes=processes
        )

    def epoch(self, number: int, step: Step) -> Epoch:
        started = time.perf_counter()
        self.model.train()
        total, lr = torch.zeros((), device=self.device), 0.0
        for at, (x, y) in enumerate(self.batches(number)):
            lr = learning_rate(self.recipe, number * self.steps + at, self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = lr * group["factor"]
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
            raise TrainingError(f"the loss is NaN or infinite (epoch {epoch + 1}, by step {step + 1} of {self.steps})")

    def one(self, epoch: int, step: int, x: Tensor, y: Tensor) -> Tensor:
        """A step on a batch. Returns the loss, detached."""
        recipe = self.recipe
        with torch.no_grad():
            inputs, targets = self.given.inputs(x, y, step_seed(self.seed, epoch, step, _AUGMENT) + self.rank)
            update_averages(self.bare, (epoch * self.steps + step) / (recipe.epochs * self.steps))
        torch.manual_seed(step_seed(self.seed, epoch, step, _MODEL) + self.rank)  # dropout and stochastic depth
        with self.accelerator.autocast():
            outputs = self.model(*inputs)
        value = self.own(inputs, outputs, y, targets) if self.own_loss else self.classes(inputs[0], logits_of(outputs), targets)
        self.accelerator.backward(value)
        if recipe.clip:
            self.accelerator.clip_grad_norm_(self.bare.parameters(), recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.bare)
        return value.detach()

    def own(self, inputs: Sequence[Tensor], outputs: Any, y: Tensor, targets: Tensor) -> Tensor:
        """The network's own loss."""
        data = {"label": y, "target": targets}
        return torch.stack(list(loss_terms(self.bare, inputs, full(outputs), data).values())).sum()

    def classes(self, x: Tensor, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """The recipe's loss of logits."""
        recipe = self.recipe
        self.fits(outputs)
        if self.teacher is None or recipe.distill == "none":
            return torch.stack([loss(recipe, logits, targets) for logits in self.used(outputs)]).mean()
        with torch.no_grad():
            taught = _mean(logits_of(self.teacher(x)))
        first, last = self.used(outputs)
        value = (1 - recipe.distill_weight) * loss(recipe, first, targets)
        return value + recipe.distill_weight * distillation(recipe, last, taught)

    def learned(self, outputs: Any) -> Sequence[Tensor]:
        """The outputs that enter the loss."""
        if not self.own_loss:
            return self.used(logits_of(outputs))
        objective = self.bare.ir.objective
        assert objective is not None
        read = [outputs if key is None else outputs[key] for kind, key in objective.reads if kind == "output"]
        return [value for value in tree_leaves(read) if isinstance(value, Tensor) and value.requires_grad]

    def used(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The logits that enter the loss: with a teacher those for the labels and those for the teacher, else all."""
        return [outputs[0], outputs[-1]] if self.recipe.distill != "none" and outputs else outputs

    def fits(self, outputs: Sequence[Tensor]) -> None:
        """Raises MetablockError if the network's outputs are not logits of the data's classes."""
        if not outputs or outputs[0].shape[-1] != self.data.classes:
            shown = tuple(outputs[0].shape[1:]) if outputs else "no vector"
            message = f"the network gives {shown}, the data has {self.data.classes} classes"
            raise MetablockError(message, "end it with `linear(classes)`")

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of each batch, in the order of the epoch."""
        generator = torch.Generator().manual_seed(step_seed(self.seed, epoch, 0, _ORDER))
        order = torch.randperm(len(self.data.train), generator=generator).tolist()
        size, share = self.size, self.size // self.world
        parts = [
            order[start + self.rank * share : start + (self.rank + 1) * share] for start in range(0, self.steps * size, size)
        ]
        yield from _ahead(self.data.train, parts)

    # Evaluation

    def evaluated(self) -> Block:
        """The network that is evaluated: the one with averaged weights, if there is one."""
        return cast(Block, self.average.module) if self.average is not None else self.bare

    @torch.no_grad()
    def evaluate(self) -> tuple[float | None, float]:
        """Mean loss and top-1 accuracy (per cent) on the validation set, over all processes. Features without classes have no
        loss; their accuracy is that of a classifier that is fitted to them."""
        model: nn.Module = self.average.module if self.average is not None else self.model
        model.eval()
        if not self.supervised:
            return None, self.judged(model)
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)  # of losses, of right answers, of examples
        indices = list(range(len(self.data.val)))[self.rank :: self.world]
        parts = [indices[start : start + _EVAL_BATCH] for start in range(0, len(indices), _EVAL_BATCH)]
        for x, y in _ahead(self.data.val, parts):
            x, y = x.to(self.device), y.to(self.device)
            with self.accelerator.autocast():
                logits = _mean(logits_of(model(*self.given.plain(x))))
            self.fits([logits])
            value = loss(self.recipe, logits, soft_targets(y, self.data.classes, 0.0))
            right = (logits.argmax(-1) == y).double().sum()
            sums += torch.stack([value.double() * len(y), right, y.new_tensor(len(y)).double()])
        total, correct, count = self.accelerator.reduce(sums, "sum").tolist()
        return total / max(1, count), 100 * correct / max(1, count)

    def judged(self, model: nn.Module) -> float:
        """The accuracy (per cent) of nearest neighbours, or of a linear probe, on what a network gives in evaluation."""
        sides = []
        for split in (self.data.train, self.data.val):
            indices = list(range(len(split)))
            parts = [indices[start : start + _EVAL_BATCH] for start in range(0, len(indices), _EVAL_BATCH)]
            rows = [(features_of(model(*self.given.plain(x.to(self.device)))).cpu(), y) for x, y in _ahead(split, parts)]
            sides.append((torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])))
        return judged(self.recipe, sides[0], sides[1], self.data.classes)

    # Checkpoints

    def state(self) -> dict[str, Any]:
        """What a checkpoint stores."""
        return {
            "model": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
        }

    def load(self, path: Path, identity: Identity) -> None:
        """Goes back to where a checkpoint was written; without one it stays at the start. Raises CheckpointError."""
        state = read_checkpoint(path, identity, self.device)
        if state is None:
            return
        try:
            self.bare.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            if self.accelerator.scaler is not None and state["scaler"]:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        except Exception:  # tensors of other shapes, or none
            raise unreadable(path) from None


def _ahead(split: Split, parts: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The examples of each part; the next part is read while the last one is used."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(split.get, parts[0]) if parts else None
        for number in range(len(parts)):
            assert following is not None
            batch = following.result()
            following = reader.submit(split.get, parts[number + 1]) if number + 1 < len(parts) else None
            yield batch


def logits_of(output: Any) -> list[Tensor]:
    """The logits ``(b, classes)`` among a network's outputs: one tensor for each head.

    >>> [tuple(logits.shape) for logits in logits_of({"head": torch.zeros(2, 10), "map": torch.zeros(2, 8, 4, 4)})]
    [(2, 10)]
    """
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else [output]
    return [value for value in values if isinstance(value, Tensor) and value.dim() == 2]


def _mean(logits: Sequence[Tensor]) -> Tensor:
    """The mean over the heads."""
    return logits[0] if len(logits) == 1 else torch.stack(list(logits)).mean(0)


__all__ = ["Options", "TrainingError", "check_device", "train"]
