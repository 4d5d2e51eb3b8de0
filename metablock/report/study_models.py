"""The types of the answers of verbs that train: `train`, `ablate`, `search`, `report`."""

from __future__ import annotations

from .answer import Answer


class EpochRow(Answer):
    """A pass over the training set. Null: not measured, or no finite number. ``top1``: per cent, on the validation set."""

    epoch: int
    train_loss: float | None
    val_loss: float | None
    top1: float | None
    lr: float
    seconds: float


class TrainReport(Answer):
    """``train``: a network, what trained it, and its epochs, those of an earlier call included.

    ``top1``: after the last epoch; ``written``: the file of the weights.
    """

    name: str
    variant: str | None
    data: str
    input: str
    classes: int
    recipe: dict[str, object]
    seed: int
    epochs: tuple[EpochRow, ...]
    top1: float | None
    checkpoint: str | None
    written: str | None


class CellRow(Answer):
    """A network of a study. ``levels``: value by factor, empty for the base; ``problem``: why it cannot be built.

    ``residual``: what is left of the difference in the matched cost; ``off``: it is beyond the tolerance.
    """

    name: str
    levels: dict[str, str]
    base: bool
    parameters: int | None
    trainable: int | None
    macs: int | None
    widths: str
    residual: float
    off: bool
    problem: str | None


class StudyPlan(Answer):
    """``ablate --dry-run``: the networks of a study, its runs, and the seconds that they are estimated to take.

    ``smallest``: the smallest difference that the seeds show, in standard deviations of paired differences; null for one seed.
    """

    name: str
    cells: tuple[CellRow, ...]
    runs: int
    epochs: int
    data: str
    train_examples: int
    val_examples: int
    classes: int
    seeds: tuple[int, ...]
    seconds: float
    smallest: float | None


class ResultRow(CellRow):
    """A network of a study and its results, in per cent; differences to the base in points, over common seeds.

    ``seeds``: top-1 by seed; ``failed``: reasons by seed; p values are corrected by Holm's method; ``interval`` has ``level``.
    """

    seeds: dict[str, float]
    failed: dict[str, str]
    mean: float | None
    sd: float | None
    latency: float | None
    difference: float | None
    verdict: str | None
    p_difference: float | None
    p_equivalence: float | None
    interval: tuple[float, float] | None
    level: float | None
    notes: tuple[str, ...]


class StudyReport(Answer):
    """``ablate`` and ``report``: a study's networks with their results, finished or not, and the files of the report."""

    name: str
    base: str
    variant: str | None
    alpha: float
    margin: float
    planned: int
    done: int
    failed: int
    complete: bool
    rows: tuple[ResultRow, ...]
    missing: tuple[str, ...]
    remarks: tuple[str, ...]
    files: tuple[str, ...]


class TrialRow(CellRow):
    """A network that a search evaluated: its ``values`` by objective, empty where there are none; ``front``: none beats it."""

    values: dict[str, float]
    front: bool


class SearchReport(Answer):
    """``search``: all networks, those of the front first, the most accurate one first; ``folder`` has the specs of the front."""

    name: str
    objectives: tuple[str, ...]
    trials: tuple[TrialRow, ...]
    folder: str


class CopyReport(Answer):
    """``report --copy``: the files of a study that were copied."""

    folder: str
    files: tuple[str, ...]


__all__ = [
    "CellRow",
    "CopyReport",
    "EpochRow",
    "ResultRow",
    "SearchReport",
    "StudyPlan",
    "StudyReport",
    "TrainReport",
    "TrialRow",
]
