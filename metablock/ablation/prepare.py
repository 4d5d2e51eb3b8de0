"""Prepares a study: loads its data, plans its cells, and writes the plan into a journal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import MetablockError
from ..front import parse_input
from ..language.format import show_spec
from .augment import check_augmentation
from .data import Data, load_data
from .journal import FILE, Journal, run_id
from .machine import hardware, versions
from .plan import Cell, plan
from .progress import Progress, silent
from .recipe import Recipe, recipe
from .record import cell_from_json, cell_to_json, cells_key, study_to_json
from .study import Factor, Level, Study


@dataclass(frozen=True)
class Prepared:
    """A study that can be run.

    Attributes:
        study: with a factor for each choice that its base leaves open.
        data: its data set.
        recipe: its recipe, with the overrides.
        cells: its networks, the base first.
    """

    study: Study
    data: Data
    recipe: Recipe
    cells: list[Cell]


def prepare(study: Study, folder: Path | None = None, progress: Progress = silent) -> Prepared:
    """Loads the data and plans the cells.

    Args:
        study: what is compared.
        folder: of a journal. If the study is planned in it already, its cells are taken from there.
        progress: called while files are looked at and cells are planned.

    Raises:
        MetablockError: nothing varies, or data, recipe or base do not work.

    >>> from metablock.ablation.study import edits_of, parse_swap
    >>> study = Study("mixers", "poolformer_s12", edits=edits_of(["depth = [1, 1, 1, 1]"]), input="1x32x32")
    >>> study = replace(study, factors=(parse_swap("token = dw(7)", study.resolved()),))
    >>> [cell.name for cell in prepare(study).cells]
    ['base', 'token = dw(7)']
    """
    study = study.varied()
    _check_varies(study)
    data = load_data(study.data, parse_input(study.input), progress)
    settings = recipe(study.recipe, **study.overrides)
    check_augmentation(settings, data.input)
    if folder is not None and (folder / FILE).exists():
        journal = Journal(folder)
        planned = journal.about().get("cells")
        journal.close()
        if planned and planned["key"] == cells_key(study, data):
            return Prepared(study, data, settings, [cell_from_json(values) for values in planned["cells"]])
    return Prepared(study, data, settings, plan(study, data.input, data.classes, progress))


def prepare_search(study: Study, progress: Progress = silent) -> Prepared:
    """Loads the data and plans the base alone: :func:`metablock.ablation.search.search` plans the networks that it evaluates.

    Raises MetablockError as :func:`prepare`.
    """
    study = study.varied()
    _check_varies(study)
    bare = prepare(replace(study, factors=(Factor("none", (Level("as it is", ()),)),)), None, progress)
    return replace(bare, study=study, cells=bare.cells[:1])


def _check_varies(study: Study) -> None:
    if not any(factor.levels for factor in study.factors):
        hint = "--swap 'token = pool(3), attention(dim // 32)', or `one_of` in the spec"
        raise MetablockError("nothing varies in this study", hint)


def enter(prepared: Prepared, folder: Path, command: str = "") -> Journal:
    """Writes a study and its plan into the journal of a folder. Runs of an earlier plan that are done stay done.

    Args:
        prepared: the study.
        folder: of the journal; it is created if there is none.
        command: the command line, for the report; by default that of the last time.

    Returns:
        The journal, open.

    Raises:
        MetablockError: the journal belongs to a study of another base.

    >>> import tempfile
    >>> from metablock.ablation.study import edits_of, parse_swap
    >>> study = Study("mixers", "poolformer_s12", edits=edits_of(["depth = [1, 1, 1, 1]"]), input="1x32x32", seeds=(0, 1))
    >>> study = replace(study, factors=(parse_swap("token = dw(7)", study.resolved()),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = enter(prepare(study), Path(folder))
    ...     [(run.cell, run.seed) for run in journal.runs()]
    ...     journal.close()
    [('base', 0), ('token = dw(7)', 0), ('base', 1), ('token = dw(7)', 1)]
    """
    study, cells = prepared.study, prepared.cells
    journal = Journal(folder)
    about = journal.about()
    if about and about.get("base") not in (None, cells[0].hash):
        journal.close()
        before = about.get("study", {}).get("base", "?")
        message = f"{journal.path}: this journal is of another base ('{before}'), '{study.base}' differs from it"
        raise MetablockError(message, "name another folder with -o, or bring the base back")
    digest, runs = prepared.recipe.digest(), []
    for seed in study.seeds:  # a seed of all cells before the next seed: what is done can be compared
        runs += [(run_id(cell.hash, digest, prepared.data.fingerprint, seed), cell.name, seed) for cell in cells if cell.spec]
    journal.set_about(
        {
            "base": cells[0].hash,
            "study": study_to_json(study),
            "cells": {"key": cells_key(study, prepared.data), "cells": [cell_to_json(cell) for cell in cells]},
            "recipe": prepared.recipe.model_dump(),
            "data": prepared.data.about(),
            "command": command or about.get("command", ""),
            "versions": versions(),
            "hardware": hardware(),
        }
    )
    journal.set_plan([(cell.name, cell.hash, show_spec(cell.spec)) for cell in cells if cell.spec], runs)
    return journal
