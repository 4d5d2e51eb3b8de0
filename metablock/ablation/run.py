"""Runs a study on this machine: plans it, starts workers, looks after them, and writes the report."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ..api import assemble, example
from ..backend.block import Block
from ..errors import MetablockError
from ..front import front, parse_input
from ..language import ast as e
from ..language.format import show_spec
from ..language.load import load_text
from ..language.printer import show
from ..language.spec import Edit
from .augment import check_augmentation
from .data import Data, load_data
from .journal import FILE, Journal, gone, run_id
from .matching import Cost
from .plan import Cell, Progress, plan
from .recipe import Recipe, recipe
from .results import Results, Run
from .study import Factor, Level, Match, Study
from .work import device_name, hardware, versions

Watch = Callable[[list[Run], dict[str, int]], None]


def _quiet(text: str, done: int, total: int) -> None:
    return None


@dataclass(frozen=True)
class Prepared:
    """A study that can be run: its data, its recipe, its cells."""

    study: Study
    data: Data
    recipe: Recipe
    cells: list[Cell]


@dataclass
class Engine:
    """How runs are done on this machine.

    Attributes:
        jobs: how many at once. On GPUs each has one of them.
        device: ``cpu``, ``cuda`` (the GPUs are shared out), ``mps``.
        compiled: whether networks are compiled.
        plugins: modules with operators, that workers load too.
    """

    jobs: int = 1
    device: str = "cpu"
    compiled: bool = False
    plugins: tuple[str, ...] = ()
    workers: list[tuple[subprocess.Popen[bytes], Path, float]] = field(default_factory=list)


def prepare(study: Study, folder: Path | None = None, progress: Progress = _quiet) -> Prepared:
    """Loads the data and plans the cells; those of a journal in ``folder`` are taken over where the study is the same.

    Raises MetablockError.
    """
    study = study.varied()
    _check_varies(study)
    data = load_data(study.data, parse_input(study.input), progress)
    chosen = recipe(study.recipe, **study.overrides)
    check_augmentation(chosen, data.input)
    key = _key(study, data)
    if folder is not None and (folder / FILE).exists():
        journal = Journal(folder)
        known = journal.about().get("cells")
        journal.close()
        if known and known["key"] == key:
            return Prepared(study, data, chosen, [_cell(values) for values in known["cells"]])
    return Prepared(study, data, chosen, plan(study, data.input, data.classes, progress))


def prepare_search(study: Study, progress: Progress = _quiet) -> Prepared:
    """The same with the base alone: a search plans what it looks at. Raises MetablockError."""
    study = study.varied()
    _check_varies(study)
    bare = prepare(replace(study, factors=(Factor("none", (Level("as it is", ()),)),)), None, progress)
    return replace(bare, study=study, cells=bare.cells[:1])


def _check_varies(study: Study) -> None:
    if not any(factor.levels for factor in study.factors):
        hint = "--swap 'token = pool(3), attention(dim // 32)', or `one_of` in the spec"
        raise MetablockError(f"nothing varies in this study\n  {hint}")


def enter(prepared: Prepared, folder: Path, command: str = "") -> Journal:
    """Writes the plan into the folder's journal. Raises MetablockError where the journal is of another base."""
    study, cells = prepared.study, prepared.cells
    journal = Journal(folder)
    about = journal.about()
    if about and about.get("base") not in (None, cells[0].hash):
        journal.close()
        was = about.get("study", {}).get("base", "?")
        raise MetablockError(
            f"{journal.path}: this journal is of another base ('{was}'), '{study.base}' differs from it\n"
            "  name another folder with -o, or bring the base back"
        )
    digest, wanted = prepared.recipe.digest(), []
    for seed in study.seeds:  # a seed of all cells before the next seed: what is done can be compared
        wanted += [(run_id(cell.hash, digest, prepared.data.fingerprint, seed), cell.name, seed) for cell in cells if cell.spec]
    journal.set_about(
        {
            "base": cells[0].hash,
            "study": _study(study),
            "cells": {"key": _key(study, prepared.data), "cells": [_values(cell) for cell in cells]},
            "recipe": prepared.recipe.model_dump(),
            "data": prepared.data.about(),
            "command": command or about.get("command", ""),
            "versions": versions(),
            "hardware": hardware(),
        }
    )
    journal.set_plan([(cell.name, cell.hash, show_spec(cell.spec)) for cell in cells if cell.spec], wanted)
    return journal


def run(journal: Journal, engine: Engine, watch: Watch = lambda runs, counts: None) -> None:
    """Does what is to be done, with workers in processes of their own. A worker that dies takes its run with it, no other.

    Raises:
        MetablockError: workers cannot start. KeyboardInterrupt comes through; workers have ended then, and their runs are free.
    """
    threads = journal.about().get("threads")
    if threads is None:  # kept: another number rounds otherwise
        threads = max(1, (os.cpu_count() or 1) // max(1, engine.jobs))
        journal.set_about({"threads": threads})
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while True:
            counts = journal.counts()
            _look_after(journal, engine, counts, threads)
            watch(journal.runs(), counts)
            if not engine.workers and not counts["pending"]:
                others = counts["running"]  # of other processes
                if not others:
                    return
            time.sleep(0.3)
    finally:
        for process, _, _ in engine.workers:
            process.terminate()
        for process, _, _ in engine.workers:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _release(journal, process.pid)
        engine.workers.clear()
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _look_after(journal: Journal, engine: Engine, counts: dict[str, int], threads: int) -> None:
    for entry in list(engine.workers):
        process, log, started = entry
        code = process.poll()
        if code is None:
            continue
        engine.workers.remove(entry)
        lost = _owned(journal, process.pid)
        for identity, who in lost:
            journal.fail(identity, who, _ended(code, log))
        if code != 0 and not lost and time.time() - started < 20:
            raise MetablockError(f"a worker cannot start: {_last(log)}\n  its whole output is in {log}")
    slots = [
        slot for slot in range(engine.jobs) if slot not in {int(log.stem.rpartition("-")[2]) for _, log, _ in engine.workers}
    ]
    stale = sum(1 for _ in slots) and _stale(journal)
    for slot in slots[: counts["pending"] + stale]:
        engine.workers.append(_start(journal.folder, engine, slot, threads))
        if len(engine.workers) >= engine.jobs:
            break


def _stale(journal: Journal) -> int:
    """Runs of owners that are gone."""
    rows = journal.connection.execute("SELECT owner, beat FROM wanted JOIN runs USING (id) WHERE status = 'running'").fetchall()
    return sum(gone(name, beat) for name, beat in rows)


def _start(folder: Path, engine: Engine, slot: int, threads: int) -> tuple[subprocess.Popen[bytes], Path, float]:
    log = folder / "logs" / f"worker-{slot}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    device, environment = engine.device, dict(os.environ)
    if device == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = _share(slot, torch.cuda.device_count())
    words = [
        sys.executable,
        "-m",
        "metablock",
        "work",
        str(folder),
        "--device",
        device,
        "--threads",
        str(threads),
        "--parent",
        str(os.getpid()),
    ]
    words += ["--compile"] if engine.compiled else []
    for plugin in engine.plugins:
        words += ["--plugin", plugin]
    environment["OMP_NUM_THREADS"] = str(threads)
    with log.open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=environment), log, time.time()


def _share(slot: int, count: int) -> str:
    """The GPU of a worker, among those that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name for name in allowed.split(",") if name] if allowed else [str(i) for i in range(count)]
    if not names:
        raise MetablockError("there is no GPU here\n  leave out --device cuda")
    return names[slot % len(names)]


def _owned(journal: Journal, pid: int) -> list[tuple[str, str]]:
    rows = journal.connection.execute("SELECT id, owner FROM runs WHERE status = 'running'").fetchall()
    host = os.uname().nodename
    return [(identity, who) for identity, who in rows if who.startswith(f"{host}:{pid}:")]


def _release(journal: Journal, pid: int) -> None:
    for _, who in _owned(journal, pid):
        journal.release(who)


def _ended(code: int, log: Path) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        why = ", most likely for want of memory" if -code == signal.SIGKILL else ""
        return f"its process was ended by {name}{why}"
    return f"its process ended with status {code}: {_last(log)}"


def _last(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


# What a journal keeps of a study


def results(folder: Path) -> Results:
    """What a journal holds. Raises MetablockError where there is none."""
    if not (folder / FILE).exists():
        raise MetablockError(f"there is no study in '{folder}'\n  name the folder that `metablock ablate` wrote")
    journal = Journal(folder)
    about, runs, probes = journal.about(), journal.runs(), journal.probes()
    journal.close()
    if "study" not in about:
        raise MetablockError(f"the study in '{folder}' was never begun\n  start `metablock ablate` again")
    return Results(
        study=_study_of(about["study"]),
        cells=[_cell(values) for values in about["cells"]["cells"]],
        runs=runs,
        latency=about.get("latency", {}),
        device=about.get("device", ""),
        command=about.get("command", ""),
        versions=about.get("versions", {}),
        hardware=about.get("hardware", ""),
        data=about.get("data", {}),
        recipe=about.get("recipe", {}),
        probes=probes,
    )


def _key(study: Study, data: Data) -> str:
    """What decides the cells."""
    said = _study(study)
    text = json.dumps([said[name] for name in ("factors", "design", "match")] + [show_spec(study.resolved())], sort_keys=True)
    return sha256(f"{text} {data.input} {data.classes}".encode()).hexdigest()


def _study(study: Study) -> dict[str, Any]:
    values = {
        name: getattr(study, name) for name in ("name", "base", "variant", "design", "data", "input", "recipe", "alpha", "margin")
    }
    return {
        **values,
        "edits": [f"{show(edit.target)} = {_shown(edit)}" for edit in study.edits],
        "factors": [
            {
                "name": one.name,
                "levels": [
                    [level.name, [f"{show(edit.target)} = {_shown(edit)}" for edit in level.edits]] for level in one.levels
                ],
                "sweep": [list(pair) for pair in one.sweep],
            }
            for one in study.factors
        ],
        "match": asdict(study.match),
        "overrides": dict(study.overrides),
        "seeds": list(study.seeds),
    }


def _shown(edit: Edit) -> str:
    return show(edit.value) if isinstance(edit.value, e.Node) else "..."


def _study_of(values: dict[str, Any]) -> Study:
    """A study as reports want it: its edits are names only."""
    factors = tuple(
        Factor(
            one["name"],
            tuple(Level(name, ()) for name, _ in one["levels"]),
            tuple((value, stage) for value, stage in one["sweep"]),
        )
        for one in values["factors"]
    )
    kept = {
        name: values[name]
        for name in ("name", "base", "variant", "design", "data", "input", "recipe", "alpha", "margin", "overrides")
    }
    match = Match(**{**values["match"], "scale": tuple(values["match"]["scale"])})
    return Study(**kept, factors=factors, match=match, seeds=tuple(values["seeds"]))


def _values(cell: Cell) -> dict[str, Any]:
    return {
        **{name: getattr(cell, name) for name in ("name", "hash", "widths", "residual", "off", "problem", "stage")},
        "levels": [list(pair) for pair in cell.levels],
        "spec": show_spec(cell.spec) if cell.spec else None,
        "cost": asdict(cell.cost) if cell.cost else None,
    }


def _cell(values: dict[str, Any]) -> Cell:
    spec = load_text(values["spec"], f"{values['name']}.yaml") if values["spec"] else None
    cost = Cost(**values["cost"]) if values["cost"] else None
    levels = tuple((factor, level) for factor, level in values["levels"])
    return Cell(**{**values, "levels": levels, "spec": spec, "cost": cost})


# Latency


def measure(journal: Journal, cells: Sequence[Cell], device: str, progress: Progress = _quiet) -> None:
    """The latency of each cell's network: milliseconds, the median of passes with a batch of one, once a study and device."""
    about = journal.about()
    name = device_name(device)
    known: dict[str, float] = about.get("latency", {}) if about.get("device") == name else {}
    wanted = [cell for cell in cells if cell.spec is not None and cell.name not in known]
    for number, cell in enumerate(wanted):
        progress(f"latency of {cell.name}", number, len(wanted))
        assert cell.spec is not None
        known[cell.name] = latency(assemble(*front(cell.spec, large=True), device=device).eval())
        journal.set_about({"latency": known, "device": name})


def latency_of(journal: Journal, cell: Cell, device: str) -> float:
    """The latency of one cell, measured once."""
    measure(journal, [cell], device)
    known: dict[str, float] = journal.about()["latency"]
    return known[cell.name]


@torch.no_grad()
def latency(model: Block, passes: int = 15) -> float:
    """Milliseconds of a pass with a batch of one, the median; two passes before do not count."""
    inputs, times = example(model), []
    for number in range(passes + 2):
        started = time.perf_counter()
        model(*inputs)
        if inputs[0].device.type != "cpu":
            torch.accelerator.synchronize(inputs[0].device)
        if number >= 2:
            times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


__all__ = ["Engine", "Prepared", "enter", "measure", "prepare", "results", "run"]
