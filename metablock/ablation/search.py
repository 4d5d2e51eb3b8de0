"""Searches the choices of a study where their grid is too large: Optuna proposes networks, the journal stores their results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from ..errors import MetablockError, suggest
from ..files import write_whole
from ..front import sized
from ..language.format import show_spec
from ..language.uses import without_unused
from .journal import Journal
from .matching import cost_of
from .outside import require
from .owners import owner
from .plan import Cell, cell_of
from .prepare import Prepared, enter
from .progress import Progress, silent
from .record import results_of
from .report.text import slug
from .study import Level, repeated
from .timing import latency_of

OBJECTIVES = {"top1": "maximize", "macs": "minimize", "params": "minimize", "latency": "minimize"}

Run = Callable[[Journal], None]  # does the pending runs of a journal
Picks = dict[str, int]  # the number of the level that each factor takes


@dataclass(frozen=True)
class Trial:
    """One network that was evaluated.

    Attributes:
        name: the levels that were chosen.
        cell: the network.
        values: by objective; empty if it cannot be built or none of its runs has a result.
    """

    name: str
    cell: Cell
    values: Mapping[str, float]


def search(
    prepared: Prepared, folder: Path, run: Run, *, trials: int, objectives: tuple[str, ...] = ("top1", "macs"), together: int = 1,
    device: str = "cpu", tell: Progress = silent, command: str = "",
) -> tuple[list[Trial], list[Trial]]:  # fmt: skip
    """Evaluates networks of a study until there are ``trials`` of them, those of earlier calls included.

    Args:
        prepared: the study with only its base planned, from :func:`metablock.ablation.prepare.prepare_search`.
        folder: of the journal; specs of the front and a table are written to ``front/`` in it.
        run: does the pending runs of the journal.
        trials: number of networks besides the base.
        objectives: ``top1`` (per cent, the mean over the study's seeds) and one or more of ``macs``, ``params`` and ``latency``
            (milliseconds).
        together: number of networks that are proposed at once.
        device: on which latency is measured.
        tell: called before each network.
        command: the command line, for the report.

    Returns:
        The Pareto front, the most accurate network first, and all trials.

    Raises:
        MetablockError: an objective is unknown, accuracy or a cost is missing, or Optuna is not installed.

    >>> search(None, Path("study.search"), run=None, trials=40, objectives=("top1", "mac"))
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: unknown objective 'mac'
      did you mean 'macs'?
    """
    for name in objectives:
        if name not in OBJECTIVES:
            hint = suggest(name, OBJECTIVES, f"known: {', '.join(OBJECTIVES)}")
            raise MetablockError(f"unknown objective '{name}'", hint)
    if "top1" not in objectives or len(set(objectives)) < 2:
        raise MetablockError("a front needs accuracy and a cost", "--objectives top1,macs")
    if (twice := repeated(objectives)) is not None:
        raise MetablockError(f"the objective '{twice}' stands twice", "keep one of the two")
    require("optuna", "`search` needs optuna", "search")
    journal = enter(prepared, folder, command)
    try:
        done = _Search(prepared, journal, objectives, trials, device).go(run, together, tell, command)
    finally:
        journal.close()
    evaluated = [trial for trial in done if trial.values]
    front = [trial for trial in evaluated if not any(_beats(other, trial, objectives) for other in evaluated)]
    front.sort(key=lambda trial: -trial.values["top1"])
    _write(front, objectives, folder / "front")
    return front, done


class _Search:
    """The proposals so far and what came of them. The journal stores the proposals, so that a later call goes on from them."""

    def __init__(self, prepared: Prepared, journal: Journal, objectives: tuple[str, ...], trials: int, device: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.prepared, self.journal, self.objectives, self.trials, self.device = prepared, journal, objectives, trials, device
        self.factors = {factor.name: factor.levels for factor in prepared.study.factors}
        self.grid = prod(len(levels) for levels in self.factors.values())
        self.spaces: dict[str, Any] = {
            name: optuna.distributions.CategoricalDistribution(range(len(levels))) for name, levels in self.factors.items()
        }
        sampler = optuna.samplers.TPESampler(seed=0, multivariate=True, n_startup_trials=max(4, trials // 4))
        directions: list[Any] = [OBJECTIVES[name] for name in objectives]
        self.sampler = optuna.create_study(directions=directions, sampler=sampler)
        self.cells: dict[str, Cell] = {cell.name: cell for cell in prepared.cells}
        self.done: dict[str, Trial] = {}
        self.proposed: list[Picks] = self.remembered()

    def go(self, run: Run, together: int, tell: Progress, command: str) -> list[Trial]:
        """Proposes, runs and evaluates until there are enough trials, or no network is left."""
        while True:
            if not self.pending():
                count = min(together, self.trials - len(self.proposed), self.grid - len(self.proposed))
                self.propose(count, attempts=50 * together)
            pending = self.pending()
            if not pending:
                return list(self.done.values())
            self.remember()
            cells: dict[str, str] = {}
            for picks in pending:
                tell(self.name(picks), len(self.done), self.trials)
                cells[self.name(picks)] = self.add_cell(picks)
            study = replace(self.prepared, cells=list(self.cells.values()))
            entered = enter(study, self.journal.folder, command, f"search {owner()}")
            self.journal.plan = entered.plan
            entered.close()
            run(self.journal)
            outcome = results_of(self.journal)
            for picks in pending:
                cell = self.cells[cells[self.name(picks)]]
                self.evaluate(picks, cell, [one.metric for one in outcome.of(cell.name) if one.metric is not None])

    def name(self, picks: Picks) -> str:
        return ", ".join(f"{factor} = {self.factors[factor][at].name}" for factor, at in picks.items())

    def remembered(self) -> list[Picks]:
        """The proposals of earlier calls that name levels of this study."""
        stored = self.journal.about().get("proposals", [])
        named = {name: {level.name: at for at, level in enumerate(levels)} for name, levels in self.factors.items()}
        return [
            {name: named[name][level] for name, level in one.items()}
            for one in stored
            if one.keys() == named.keys() and all(level in named[name] for name, level in one.items())
        ]

    def remember(self) -> None:
        """Stores the proposals, by the names of levels, beside those of other processes and studies."""
        self.journal.add_proposals([{name: self.factors[name][at].name for name, at in picks.items()} for picks in self.proposed])

    def pending(self) -> list[Picks]:
        """Proposals that are not evaluated yet."""
        return [picks for picks in self.proposed if self.name(picks) not in self.done]

    def propose(self, count: int, attempts: int) -> None:
        """Adds ``count`` new proposals, fewer if Optuna proposes known ones too often."""
        import optuna

        for _ in range(attempts):
            if count <= 0:
                return
            proposal = self.sampler.ask(self.spaces)
            picks = {name: int(proposal.params[name]) for name in self.factors}
            # Its values are added by `evaluate`, as those of earlier calls are.
            self.sampler.tell(proposal, state=optuna.trial.TrialState.FAIL)
            if picks not in self.proposed:
                self.proposed.append(picks)
                count -= 1

    def add_cell(self, picks: Picks) -> str:
        """Plans the network of a proposal. Returns the name of its cell, or of the cell that has the same network already."""
        prepared, data = self.prepared, self.prepared.data
        base = sized(prepared.study.resolved(), classes=data.classes, input=data.input)
        cost = prepared.cells[0].cost or cost_of(base)
        changes: list[tuple[str, Level, int | None]] = [(name, self.factors[name][at], None) for name, at in picks.items()]
        cell = replace(cell_of(prepared.study, base, cost, changes), name=self.name(picks))
        same = next((other for other in self.cells.values() if other.hash and other.hash == cell.hash), cell)
        self.cells.setdefault(same.name, same)
        return same.name

    def evaluate(self, picks: Picks, cell: Cell, metrics: Sequence[float]) -> None:
        """Turns the results of a network into a trial, and tells the sampler."""
        import optuna

        name = self.name(picks)
        if cell.spec is None or cell.cost is None or not metrics:
            self.done[name] = Trial(name, cell, {})
            return
        known = {"top1": statistics.mean(metrics), "macs": float(cell.cost.macs), "params": float(cell.cost.trainable)}
        if "latency" in self.objectives:
            known["latency"] = latency_of(self.journal, cell, self.device)
        values = {objective: known[objective] for objective in self.objectives}
        self.done[name] = Trial(name, cell, values)
        self.sampler.add_trial(
            optuna.trial.create_trial(
                params=dict(picks), distributions=self.spaces, values=[values[one] for one in self.objectives]
            )
        )


def _beats(a: Trial, b: Trial, objectives: tuple[str, ...]) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better."""
    signs = [1 if OBJECTIVES[name] == "maximize" else -1 for name in objectives]
    pairs = [(sign * a.values[name], sign * b.values[name]) for sign, name in zip(signs, objectives, strict=True)]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def _write(front: Sequence[Trial], objectives: tuple[str, ...], folder: Path) -> None:
    """The specs of the front and ``front.md``, a table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["| network | " + " | ".join(objectives) + " | spec |", "| --- |" + " ---: |" * len(objectives) + " --- |"]
    for number, trial in enumerate(front):
        assert trial.cell.spec is not None
        path = folder / f"{number:02}_{slug(trial.name)[:60]}.yaml"
        write_whole(path, show_spec(without_unused(trial.cell.spec)))
        lines.append(f"| {trial.name} | " + " | ".join(f"{trial.values[name]:,.6g}" for name in objectives) + f" | {path.name} |")
    write_whole(folder / "front.md", "\n".join(lines) + "\n")
