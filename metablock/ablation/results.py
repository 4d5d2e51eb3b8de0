"""What a study has found so far: the data that reports are written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .plan import Cell
from .study import Study


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set. Values that were not measured are None."""

    epoch: int  # from 1
    train_loss: float
    val_loss: float | None
    val_top1: float | None  # per cent
    lr: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """One training: a cell with a seed. ``metric`` is the top-1 accuracy on the validation set after the last epoch, per cent."""

    cell: str
    seed: int
    status: str  # pending, running, done, failed
    metric: float | None = None
    reason: str = ""
    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0
    device: str = ""


@dataclass(frozen=True)
class Results:
    """A study, its cells and runs, and what is needed to do it again.

    Attributes:
        latency: of a cell's network, in milliseconds: the median of passes with a batch of one.
        device: where latency was measured, in words.
        command: the complete command line.
        versions: of metablock, torch, Python and others.
        hardware: the machine, in words.
        data: name, fingerprint, number of training and validation examples, number of classes.
        recipe: every value of the recipe.
        probes: receptive fields and spectra of the trained networks of one seed, by cell, as
            :func:`metablock.ablation.probe.told` writes them.
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

    def of(self, cell: str) -> list[Run]:
        """The runs of a cell, by seed."""
        return sorted((run for run in self.runs if run.cell == cell), key=lambda run: run.seed)
