"""A study, its cells and its results as a journal stores them: to JSON, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import MetablockError
from ..language import ast as e
from ..language.format import show_spec
from ..language.load import load_text
from ..language.printer import show
from ..language.spec import Edit
from .dataset import Data
from .journal import FILE, Journal
from .matching import Cost
from .plan import Cell
from .results import Results
from .study import Factor, Level, Match, Study

# Fields that are stored as they are.
_OF_STUDY = ("name", "base", "variant", "design", "data", "input", "recipe", "alpha", "margin")
_OF_CELL = ("name", "hash", "widths", "residual", "off", "problem", "stage")


def results(folder: Path) -> Results:
    """The results of the study in a folder, finished or not.

    Raises:
        MetablockError: there is no study in the folder.

    >>> results(Path("nowhere"))
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: there is no study in 'nowhere'
      name the folder that `metablock ablate` wrote
    """
    if not (folder / FILE).exists():
        raise MetablockError(f"there is no study in '{folder}'", "name the folder that `metablock ablate` wrote")
    journal = Journal(folder)
    about, runs, probes = journal.about(), journal.runs(), journal.probes()
    journal.close()
    if "study" not in about:
        raise MetablockError(f"the study in '{folder}' was never started", "start `metablock ablate` again")
    return Results(
        study=study_from_json(about["study"]),
        cells=[cell_from_json(values) for values in about["cells"]["cells"]],
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


def cells_key(study: Study, data: Data) -> str:
    """A hash of everything that decides the cells: equal keys mean that a study need not be planned again."""
    values = study_to_json(study)
    decisive = [values[name] for name in ("factors", "design", "match")] + [show_spec(study.resolved())]
    return sha256(f"{json.dumps(decisive, sort_keys=True)} {data.input} {data.classes}".encode()).hexdigest()


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
                "levels": [[level.name, [_edit(edit) for edit in level.edits]] for level in factor.levels],
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
    plain = {name: values[name] for name in (*_OF_STUDY, "overrides")}
    match = Match(**{**values["match"], "scale": tuple(values["match"]["scale"])})
    return Study(**plain, factors=factors, match=match, seeds=tuple(values["seeds"]))


def cell_to_json(cell: Cell) -> dict[str, Any]:
    """A cell as JSON values, its spec as text."""
    return {
        **{name: getattr(cell, name) for name in _OF_CELL},
        "levels": [list(pair) for pair in cell.levels],
        "spec": show_spec(cell.spec) if cell.spec else None,
        "cost": asdict(cell.cost) if cell.cost else None,
    }


def cell_from_json(values: dict[str, Any]) -> Cell:
    """The cell that :func:`cell_to_json` stored."""
    spec = load_text(values["spec"], f"{values['name']}.yaml") if values["spec"] else None
    cost = Cost(**values["cost"]) if values["cost"] else None
    levels = tuple((factor, level) for factor, level in values["levels"])
    return Cell(**{**values, "levels": levels, "spec": spec, "cost": cost})
