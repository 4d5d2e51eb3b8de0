"""A study, its cells and its results as a journal stores them: to JSON, and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import MetablockError
from ..language import ast as e
from ..language.format import show_spec
from ..language.load import load_text
from ..language.printer import show
from ..language.registry import OPERATORS
from ..language.spec import Edit, Spec
from .dataset import Data
from .identity import Identity
from .journal import Journal
from .matching import Cost
from .plan import Cell
from .results import Results
from .source import planning_digest, training_digest
from .store import ELSEWHERE, DamagedError, damaged, need_journal, readable
from .study import Factor, Level, Match, Study

# Fields that are stored as they are.
_OF_STUDY = ("name", "base", "variant", "design", "data", "input", "recipe", "alpha", "margin", "method")
_OF_CELL = ("name", "hash", "widths", "residual", "off", "problem", "stage")


def results(folder: Path) -> Results:
    """The results of the study in a folder, finished or not: of several the one that was entered last.

    Raises:
        MetablockError: there is no study in the folder, or its journal has damage.

    >>> results(Path("nowhere"))
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: there is no study in 'nowhere'
      name the folder that `metablock ablate` wrote
    """
    need_journal(folder)
    with readable(folder) as place:
        journal = Journal(place)
        try:
            return results_of(journal)
        finally:
            journal.close()


def results_of(journal: Journal) -> Results:
    """The results of the plan that a journal object works for. Raises MetablockError if there is none."""
    about, shared = journal.study(), journal.about()
    if about and "study" not in about:
        raise damaged(journal.path, ["plans: about"])
    if "study" not in about:
        raise MetablockError(f"the study in '{journal.folder}' was never started", "start `metablock ablate` again")
    try:
        cells = [cell_from_json(values) for values in about["cells"]["cells"]]
        study = study_from_json(about["study"])
    except (MetablockError, KeyError, TypeError, ValueError, AttributeError):
        message = f"{journal.path}: what this journal says of its study cannot be read"
        raise DamagedError(message, f"use the version of metablock that wrote it, or {ELSEWHERE}") from None
    device = about.get("device") or shared.get("device", "")
    known = latencies(shared, device)
    latency = about.get("latency") or {cell.name: known[key] for cell in cells if (key := network_key(cell)) in known}
    return Results(
        study=study,
        cells=cells,
        runs=journal.runs(),
        latency=latency,
        device=device,
        command=about.get("command", ""),
        versions=about.get("versions", {}),
        hardware=about.get("hardware", ""),
        data=about.get("data", {}),
        recipe=about.get("recipe", {}),
        probes=journal.probes(),
        others=others(journal),
    )


def network_key(cell: Cell) -> str:
    """A hash of a cell's network, its spec and its code: what a measured latency belongs to."""
    code = {name: digest for name, digest in cell.code.items() if name != "training"}
    return sha256(f"{cell.hash} {json.dumps(code, sort_keys=True)}".encode()).hexdigest()[:32]


def latencies(about: Mapping[str, Any], device: str) -> dict[str, float]:
    """The latencies of :meth:`Journal.about` that were measured on a device, in milliseconds by :func:`network_key`."""
    return dict(about.get("latencies", {}).get(device, {}))


_KINDS = {
    "spec": "other networks", "recipe": "another recipe", "data": "other data", "seed": "other seeds", "code": "other code",
    "compiled": "another choice of --compile", "teacher": "another teacher", "processes": "another number of processes",
}  # fmt: skip


def others(journal: Journal) -> tuple[str, ...]:
    """Sentences on the runs with results that are in the journal, and not in this plan: how many, and what differs."""
    here = [identity for identity in journal.identities(planned=True) if identity is not None]
    counts: Counter[tuple[str, str]] = Counter()
    for identity in journal.identities(planned=False):
        counts[_reason(identity, here)] += 1
    return tuple(
        f"{count} {'run' if count == 1 else 'runs'} of {kind} {'is' if count == 1 else 'are'} kept in the journal"
        + (f": {what}" if what else "")
        for (kind, what), count in counts.items()
    )


def _reason(identity: Identity | None, here: list[Identity]) -> tuple[str, str]:
    """How a run differs from the most similar one of a plan: in a word, and in detail."""
    if identity is None:
        return "an earlier version of metablock", "they do not say all that decides their numbers"
    if not here:
        return "other networks", ""
    nearest = min(here, key=lambda one: len(identity.kinds(one)) + 0.5 * (one.spec != identity.spec))
    kinds = identity.kinds(nearest)
    kind = next(kind for kind in (*(kind for kind in _KINDS if kind not in ("spec", "seed")), "spec", "seed") if kind in kinds)
    details = [] if kind in ("spec", "seed") else list(identity.differences(nearest))
    return _KINDS[kind], "; ".join(text for text in details if text != "another network" and not text.startswith("seed "))


def cells_key(study: Study, data: Data) -> str:
    """A hash of everything that decides the cells: equal keys mean that a study need not be planned again."""
    values = study_to_json(study)
    decisive = [values[name] for name in ("factors", "design", "match")] + [show_spec(study.resolved())]
    custom = sorted({operator.module for operator in OPERATORS.values() if operator.declared is not None})
    code = f"{planning_digest(tuple(custom))} {training_digest()}"
    return sha256(f"{json.dumps(decisive, sort_keys=True)} {data.input} {data.classes} {code}".encode()).hexdigest()


def _changes(level: Level) -> list[str]:
    """What a level changes, as texts."""
    return [*map(_edit, level.edits), *([f"method: {level.method}"] if level.method is not None else [])]


def study_to_json(study: Study) -> dict[str, Any]:
    """A study as JSON values, its edits as text.

    >>> from metablock.ablation.study import edits_of
    >>> study_to_json(Study("mixers", "poolformer_s12", edits=edits_of(["token = dw(7)"])))["edits"]
    ['token = dw(7)']
    """
    return {
        **{name: getattr(study, name) for name in _OF_STUDY},
        "edits": [_edit(edit) for edit in study.edits],
        "factors": [
            {
                "name": factor.name,
                "levels": [[level.name, _changes(level)] for level in factor.levels],
                "sweep": [list(pair) for pair in factor.sweep],
            }
            for factor in study.factors
        ],
        "match": asdict(study.match),
        "overrides": dict(study.overrides),
        "seeds": list(study.seeds),
    }


def _edit(edit: Edit) -> str:
    return f"{show(edit.target)} = {show(edit.value) if isinstance(edit.value, e.Node) else '...'}"


def study_from_json(values: dict[str, Any]) -> Study:
    """The study as reports need it: with the names of its levels, without any edits.

    >>> study = Study("mixers", "poolformer_s12", seeds=(3, 5))
    >>> study_from_json(study_to_json(study)) == study
    True
    """
    factors = tuple(
        Factor(
            factor["name"],
            tuple(Level(name, ()) for name, _ in factor["levels"]),
            tuple((value, stage) for value, stage in factor["sweep"]),
        )
        for factor in values["factors"]
    )
    plain: dict[str, Any] = {name: values.get(name) for name in (*_OF_STUDY, "overrides")}
    match = Match(**{**values["match"], "scale": tuple(values["match"]["scale"])})
    return Study(**plain, factors=factors, match=match, seeds=tuple(values["seeds"]))


def cell_to_json(cell: Cell) -> dict[str, Any]:
    """A cell as JSON values, its spec as text."""
    return {
        **{name: getattr(cell, name) for name in _OF_CELL},
        "code": dict(cell.code),
        "levels": [list(pair) for pair in cell.levels],
        "spec": show_spec(cell.spec) if cell.spec else None,
        "cost": asdict(cell.cost) if cell.cost else None,
    }


def stored_spec(text: str, name: str) -> Spec:
    """A resolved spec from the text that was stored of it. A binding may stand in it that only another variant, or level, uses.

    >>> stored_spec("name: n\\ninput: image(3, 8)\\nlet: {old: relu}\\nmodel: conv(4)\\n", "n.yaml").resolved
    True
    """
    return load_text(text, name).with_(resolved=True)


def cell_from_json(values: dict[str, Any]) -> Cell:
    """The cell that :func:`cell_to_json` stored."""
    spec = stored_spec(values["spec"], f"{values['name']}.yaml") if values["spec"] else None
    cost = Cost(**values["cost"]) if values["cost"] else None
    levels = tuple((factor, level) for factor, level in values["levels"])
    return Cell(**{**values, "levels": levels, "spec": spec, "cost": cost})
