"""Prepares a study: loads its data, plans its cells, and writes the plan into a journal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import MetablockError
from ..front import parse_input
from ..language.format import show_spec
from .augment import check_augmentation
from .data import Data, load_data
from .identity import Identity, data_identity
from .journal import Journal, Planned
from .machine import hardware, versions
from .plan import Cell, plan
from .progress import Progress, silent
from .recipe import Recipe, recipe
from .record import cell_from_json, cell_to_json, cells_key, study_to_json
from .store import has_journal, readable
from .study import Factor, Level, Study


@dataclass(frozen=True)
class Prepared:
    """A study that can be run.

    Attributes:
        study: with a factor for each choice that its base leaves open.
        data: its data set.
        recipe: its recipe, with the overrides.
        cells: its networks, the base first.
        compiled: whether networks are compiled to be trained.
    """

    study: Study
    data: Data
    recipe: Recipe
    cells: list[Cell]
    compiled: bool = False


def prepare(study: Study, folder: Path | None = None, progress: Progress = silent, *, compiled: bool = False) -> Prepared:
    """Loads the data and plans the cells.

    Args:
        study: what is compared.
        folder: of a journal. If the study is planned in it already, its cells are taken from there.
        progress: called while files are looked at and cells are planned.
        compiled: whether networks are compiled to be trained.

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
    planned = None
    if folder is not None and has_journal(folder):
        with readable(folder) as place:
            journal = Journal(place)
            planned = journal.cells(cells_key(study, data))
            journal.close()
    cells = [cell_from_json(values) for values in planned] if planned else plan(study, data.input, data.classes, progress)
    return Prepared(study, data, settings, cells, compiled)


def prepare_search(study: Study, progress: Progress = silent, *, compiled: bool = False) -> Prepared:
    """Loads the data and plans the base alone: :func:`metablock.ablation.search.search` plans the networks that it evaluates.

    Raises MetablockError as :func:`prepare`.
    """
    study = study.varied()
    _check_varies(study)
    bare = prepare(replace(study, factors=(Factor("none", (Level("as it is", ()),)),)), None, progress, compiled=compiled)
    return replace(bare, study=study, cells=bare.cells[:1])


def _check_varies(study: Study) -> None:
    if not any(factor.levels for factor in study.factors):
        hint = "--swap 'token = pool(3), attention(dim // 32)', or `one_of` in the spec"
        raise MetablockError("nothing varies in this study", hint)


def enter(prepared: Prepared, folder: Path, command: str = "", key: str = "") -> Journal:
    """Writes a study and its plan into the journal of a folder. Runs of an earlier plan that are done stay done.

    Args:
        prepared: the study.
        folder: of the journal; it is created if there is none.
        command: the command line, for the report; by default that of the last time.
        key: of the plan, as for :meth:`metablock.ablation.journal.Journal.set_plan`.

    Returns:
        The journal, open, for this plan.

    Raises:
        MetablockError: the journal belongs to a study of another base, or cannot be used.

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
    try:
        before = journal.study()
        if journal.default("base", cells[0].hash) != cells[0].hash:
            base = before.get("study", {}).get("base", "?")
            message = f"{journal.path}: this journal is of another base ('{base}'), '{study.base}' differs from it"
            raise MetablockError(message, "name another folder with -o, or bring the base back")
        about = {
            "study": study_to_json(study),
            "cells": {"key": cells_key(study, prepared.data), "cells": [cell_to_json(cell) for cell in cells]},
            "recipe": prepared.recipe.model_dump(),
            "data": prepared.data.about(),
            "command": command or before.get("command", ""),
            "versions": versions(),
            "hardware": hardware(),
        }
        journal.set_plan(about, list(planned_runs(prepared)), key)
    except BaseException:
        journal.close()
        raise
    return journal


def planned_runs(prepared: Prepared) -> Iterator[Planned]:
    """The runs of a study: a seed of all cells before the next seed, so that what is done can be compared."""
    recipe, data = prepared.recipe.model_dump(), data_identity(prepared.data)
    specs = [(cell, show_spec(cell.spec)) for cell in prepared.cells if cell.spec is not None]
    for seed in prepared.study.seeds:
        for cell, spec in specs:
            yield Planned(Identity(cell.hash, cell.code, recipe, data, seed, prepared.compiled), cell.name, spec)
