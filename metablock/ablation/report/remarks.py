"""What a reader must know beside a study's numbers: conditions that differ, what was not measured, runs of other plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..probe import Probed, ProbeError, from_json
from ..results import Results

_CONDITIONS = {
    "device": "device",
    "kind": "kind of device",
    "threads": "number of threads",
    "torch": "torch",
    "metablock": "metablock",
}


def mixed(results: Results) -> Iterator[str]:
    """A sentence for each condition in which the finished runs differ: device, threads, versions.

    >>> from metablock.ablation.results import Run
    >>> from metablock.ablation.study import Study
    >>> runs = [Run("base", seed, "done", conditions=({"torch": torch},)) for seed, torch in enumerate(("2.9", "2.9", "2.10"))]
    >>> list(mixed(Results(Study("mixers", "poolformer_s12"), [], runs)))
    ['The finished runs differ in torch: 2.9 (2 runs), 2.10 (1 run). Small differences between them may come from that.']
    """
    done = [run for run in results.runs if run.status == "done"]
    for key, title in _CONDITIONS.items():
        values: Counter[str] = Counter()
        for run in done:
            values[" then ".join(dict.fromkeys(str(one[key]) for one in run.conditions if key in one)) or "not recorded"] += 1
        if len(values) > 1 or any(" then " in value for value in values):
            listed = ", ".join(f"{value} ({count} {'run' if count == 1 else 'runs'})" for value, count in values.items())
            yield f"The finished runs differ in {title}: {listed}. Small differences between them may come from that."


def probed(results: Results) -> tuple[dict[str, list[Probed]], list[str]]:
    """The stored probes by cell, and a sentence on each finished cell that has none."""
    stages: dict[str, list[Probed]] = {}
    missing: dict[str, list[str]] = {}
    for cell in results.cells:
        finished = any(run.status == "done" and run.seed in results.study.seeds[:1] for run in results.of(cell.name))
        try:
            if cell.name in results.probes:
                stages[cell.name] = from_json(results.probes[cell.name])
            elif finished:
                missing.setdefault("they are not in the journal", []).append(cell.name)
        except ProbeError as wrong:
            missing.setdefault(str(wrong), []).append(cell.name)
    return stages, [f"No receptive fields and spectra of {', '.join(cells)}: {reason}." for reason, cells in missing.items()]


def remarks(results: Results) -> list[str]:
    """All of it, in sentences."""
    return [*mixed(results), *probed(results)[1], *(f"{text[0].upper()}{text[1:]}." for text in results.others)]
