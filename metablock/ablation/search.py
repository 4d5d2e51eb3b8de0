"""Search over the choices of a study where their grid is too large: Optuna proposes, the journal remembers."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import MetablockError, install_hint, suggest
from ..files import write_whole
from ..front import sized
from ..language.format import show_spec
from .journal import Journal
from .matching import cost_of
from .plan import Cell, cell_of
from .report.text import slug
from .run import Prepared, enter, latency_of, results
from .study import Level, Study

OBJECTIVES = {"top1": "maximize", "macs": "minimize", "params": "minimize", "latency": "minimize"}
_LARGE = 10**6  # combinations

Run = Callable[[Journal], None]
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Trial:
    """One network that was looked at: what was chosen, and its values by objective."""

    name: str
    cell: Cell
    values: Mapping[str, float]


def search(
    prepared: Prepared, folder: Path, run: Run, *, trials: int, objectives: tuple[str, ...] = ("top1", "macs"), together: int = 1,
    device: str = "cpu", tell: Tell = lambda text, done, total: None, command: str = "",
) -> tuple[list[Trial], list[Trial]]:  # fmt: skip
    """Looks at networks of a study until there are so many, those of an earlier call counted.

    Args:
        prepared: the study, with the base alone planned.
        folder: of the journal.
        run: does the journal's runs.
        trials: how many networks, the base besides.
        objectives: two or more of ``top1``, ``macs``, ``params``, ``latency``; accuracy is the mean over the study's seeds.
        together: how many are proposed at once.
        device: where latency is measured.
        tell: what is being done.
        command: for the report.

    Returns:
        The Pareto front (specs and a table are written to ``front/``), and all that was looked at.

    Raises:
        MetablockError: Optuna is not installed, an objective is unknown, or nothing varies.
    """
    if importlib.util.find_spec("optuna") is None:
        raise MetablockError("`search` needs optuna", install_hint("search"))
    for name in objectives:
        if name not in OBJECTIVES:
            raise MetablockError(f"unknown objective '{name}'\n  {suggest(name, OBJECTIVES, 'known: ' + ', '.join(OBJECTIVES))}")
    if "top1" not in objectives or len(set(objectives)) < 2:
        raise MetablockError("a front needs accuracy and a cost\n  --objectives top1,macs")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = prepared.study
    factors = {factor.name: factor.levels for factor in study.factors}
    sampler = optuna.samplers.TPESampler(seed=0, multivariate=True, n_startup_trials=max(4, trials // 4))
    directions: list[Any] = [OBJECTIVES[name] for name in objectives]
    asked = optuna.create_study(directions=directions, sampler=sampler)
    spaces: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(range(len(levels))) for name, levels in factors.items()
    }
    every = 1
    for levels in factors.values():
        every = min(_LARGE, every * len(levels))
    journal = enter(prepared, folder, command)
    cells: dict[str, Cell] = {cell.name: cell for cell in prepared.cells}
    owners: dict[str, str] = {}
    done: dict[str, Trial] = {}
    known: list[dict[str, int]] = journal.about().get("picks", [])
    try:
        while True:
            open_ = [picks for picks in known if _name(picks, factors) not in done]
            fresh = min(together, trials - len(known), every - len(known))
            attempts = 0
            while not open_ and fresh > 0 and attempts < 50 * together:
                proposal = asked.ask(spaces)
                picks = {name: int(proposal.params[name]) for name in factors}
                asked.tell(
                    proposal, state=optuna.trial.TrialState.FAIL
                )  # told below, with its values, like those of earlier calls
                attempts += 1
                if picks not in known:
                    known.append(picks)
                    fresh -= 1
                    open_ = [picks for picks in known if _name(picks, factors) not in done]
                    if fresh:
                        open_ = []
            open_ = [picks for picks in known if _name(picks, factors) not in done]
            if not open_:
                break
            journal.set_about({"picks": known})
            for picks in open_:
                tell(_name(picks, factors), len(done), trials)
                cell = _cell(study, prepared, factors, picks)
                same = next((other for other in cells.values() if other.hash and other.hash == cell.hash), cell)
                owners[cell.name] = same.name  # one choice may come to what another is, or the base
                cells.setdefault(same.name, same)
            enter(replace(prepared, cells=list(cells.values())), folder, command).close()
            run(journal)
            found = results(folder)
            for picks in open_:
                name = _name(picks, factors)
                cell = cells[owners[name]]
                metrics = [one.metric for one in found.of(cell.name) if one.metric is not None]
                if cell.spec is None or not metrics:
                    done[name] = Trial(name, cell, {})
                    continue
                values = _values(cell, statistics.mean(metrics), objectives, device, journal)
                done[name] = Trial(name, cell, values)
                asked.add_trial(
                    optuna.trial.create_trial(params=picks, distributions=spaces, values=[values[name] for name in objectives])
                )
    finally:
        journal.close()
    looked = [trial for trial in done.values() if trial.values]
    front = sorted(
        (one for one in looked if not any(_beats(other, one, objectives) for other in looked)), key=lambda t: -t.values["top1"]
    )
    _write(front, objectives, folder / "front")
    return front, list(done.values())


def _name(picks: Mapping[str, int], factors: Mapping[str, tuple[Level, ...]]) -> str:
    return ", ".join(f"{name} = {factors[name][at].name}" for name, at in picks.items())


def _cell(study: Study, prepared: Prepared, factors: Mapping[str, tuple[Level, ...]], picks: Mapping[str, int]) -> Cell:
    data = prepared.data
    base = sized(study.resolved(), classes=data.classes, input=data.input)
    cost = prepared.cells[0].cost or cost_of(base)
    cell = cell_of(study, base, cost, [(name, factors[name][at], None) for name, at in picks.items()])
    return replace(cell, name=_name(picks, factors))


def _values(cell: Cell, top1: float, objectives: tuple[str, ...], device: str, journal: Journal) -> dict[str, float]:
    assert cell.cost is not None
    values = {"top1": top1, "macs": float(cell.cost.macs), "params": float(cell.cost.trainable)}
    if "latency" in objectives:
        values["latency"] = latency_of(journal, cell, device)
    return {name: values[name] for name in objectives}


def _beats(a: Trial, b: Trial, objectives: tuple[str, ...]) -> bool:
    """Whether one is nowhere worse and somewhere better."""
    signs = [1 if OBJECTIVES[name] == "maximize" else -1 for name in objectives]
    pairs = [(sign * a.values[name], sign * b.values[name]) for sign, name in zip(signs, objectives, strict=True)]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def _write(front: list[Trial], objectives: tuple[str, ...], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["| network | " + " | ".join(objectives) + " | spec |", "| --- |" + " ---: |" * len(objectives) + " --- |"]
    for number, trial in enumerate(front):
        assert trial.cell.spec is not None
        path = folder / f"{number:02}_{slug(trial.name)[:60]}.yaml"
        write_whole(path, show_spec(trial.cell.spec))
        lines.append(f"| {trial.name} | " + " | ".join(f"{trial.values[name]:,.6g}" for name in objectives) + f" | {path.name} |")
    write_whole(folder / "front.md", "\n".join(lines) + "\n")
