"""The results of a study, finished or not: what reports are written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .plan import Cell
from .study import Study


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set.

    Attributes:
        epoch: its number, from 1.
        train_loss: mean of its steps.
        val_loss: mean of the recipe's loss on the validation set, without smoothing; None if it was not measured.
        val_top1: accuracy on the validation set, per cent; None if it was not measured.
        lr: learning rate of its last step.
        seconds: that it took, evaluation included.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    val_top1: float | None
    lr: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """One training: a cell with a seed.

    Attributes:
        cell: its name.
        seed: of weights, order, augmentation and dropout.
        status: ``pending``, ``running``, ``done`` or ``failed``.
        metric: top-1 accuracy on the validation set after the last epoch, per cent; None before it is done.
        reason: why it failed.
        epochs: those that are finished.
        seconds: that they took together.
        device: on which it ran, in words.
        conditions: of each process that worked on it, in order: device, threads, versions
            (:func:`metablock.ablation.machine.conditions`).
    """

    cell: str
    seed: int
    status: str
    metric: float | None = None
    reason: str = ""
    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0
    device: str = ""
    conditions: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Results:
    """A study, its cells and runs, and what is needed to repeat it.

    Attributes:
        study: what was compared.
        cells: its networks, the base first.
        runs: one per cell and seed.
        latency: of each cell's network, in milliseconds: the median of passes with a batch of one.
        device: where latency was measured, in words.
        command: the complete command line.
        versions: of metablock, torch, Python and others.
        hardware: the machine, in words.
        data: name, fingerprint, number of training and validation examples, number of classes.
        recipe: every value of the recipe.
        probes: receptive fields and spectra of the trained networks of one seed, by cell, as
            :func:`metablock.ablation.probe.to_json` writes them; or why there are none.
        others: sentences on runs in the same journal that belong to other plans.

    >>> runs = [Run("base", 1, "running"), Run("base", 0, "done", 91.5), Run("token = dw(7)", 0, "pending")]
    >>> [run.seed for run in Results(Study("mixers", "poolformer_s12"), [], runs).of("base")]
    [0, 1]
    """

    study: Study
    cells: Sequence[Cell]
    runs: Sequence[Run]
    latency: Mapping[str, float] = field(default_factory=dict)
    device: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[str] = ()

    def of(self, cell: str) -> list[Run]:
        """The runs of a cell, by seed."""
        return sorted((run for run in self.runs if run.cell == cell), key=lambda run: run.seed)
