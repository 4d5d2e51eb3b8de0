"""The plan of a study: every network that it compares, with its cost, before anything trains."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..errors import MetablockError
from ..front import sized
from ..language.check import check_edits
from ..language.edits import apply
from ..language.format import spec_hash
from ..language.spec import Edit, Spec
from ..shape import Feature
from .matching import Cost, cost_of, match
from .study import Level, Study

BASE = "base"
MAX_CELLS = 10_000


@dataclass(frozen=True)
class Cell:
    """One network of a study. ``problem`` says why there is none: the cell stays in the table.

    Attributes:
        name: what tables call it.
        levels: the factor's and level's name of each change; empty for the base.
        spec: resolved, with the data's input and classes, its widths matched.
        hash: of the spec; two cells with the same network share it.
        cost: parameters and MACs.
        widths: what became of the widths to match the cost, empty if they are as they were.
        residual: relative difference to the base in what is matched.
        off: the residual is beyond the tolerance.
    """

    name: str
    levels: tuple[tuple[str, str], ...]
    spec: Spec | None
    hash: str
    cost: Cost | None
    widths: str = ""
    residual: float = 0.0
    off: bool = False
    problem: str = ""
    stage: int | None = None

    @property
    def base(self) -> bool:
        return not self.levels


Progress = Callable[[str, int, int], None]


def plan(study: Study, input: Feature, classes: int, progress: Progress = lambda name, done, total: None) -> list[Cell]:
    """The cells of a study, the base first. Allocates nothing.

    Args:
        study: what varies.
        input: the shape of the data.
        classes: the number of its classes.

    Raises:
        MetablockError: the base cannot be built, or an edit names nothing.
    """
    base = sized(study.resolved(), classes=classes, input=input)
    cost = cost_of(base)
    cells = [Cell(BASE, (), base, spec_hash(base), cost)]
    wanted = list(combinations(study))
    if len(wanted) > MAX_CELLS:
        raise MetablockError(
            f"the study has {len(wanted)} cells\n  fewer levels, or design: one_at_a_time; `metablock search` looks at some"
        )
    for number, levels in enumerate(wanted):
        progress(_name(levels), number, len(wanted))
        cells.append(cell_of(study, base, cost, levels))
    same = next((cell.name for cell in cells[1:] if cell.hash == cells[0].hash), None)
    if same is not None:  # a level may be what the base has
        cells[0] = replace(cells[0], name=f"{BASE}: {same}")
    known: dict[str, str] = {}
    for cell in cells:
        known.setdefault(cell.hash, cell.name)
    return [cell for cell in cells if not cell.hash or known[cell.hash] == cell.name]


def combinations(study: Study) -> Iterator[list[tuple[str, Level, int | None]]]:
    """What each cell changes: factor, level and, in a placement sweep, the stage."""
    tagged = [[(f.name, level, f.sweep[i][1] if f.sweep else None) for i, level in enumerate(f.levels)] for f in study.factors]
    if study.design == "grid":
        yield from (list(combination) for combination in itertools.product(*tagged) if combination)
    else:
        yield from ([one] for levels in tagged for one in levels)


def _name(levels: list[tuple[str, Level, int | None]]) -> str:
    return ", ".join(f"{factor} = {level.name}" if len(level.edits) == 1 else level.name for factor, level, _ in levels)


def cell_of(study: Study, base: Spec, cost: Cost, levels: list[tuple[str, Level, int | None]]) -> Cell:
    """One cell: its edits made, its widths matched; or why there is none."""
    name, changes = _name(levels), tuple((factor, level.name) for factor, level, _ in levels)
    stage = next((at for _, _, at in levels if at is not None), None)
    edits: list[Edit] = [edit for _, level, _ in levels for edit in level.edits]
    spec = apply(base, edits)  # an edit that names nothing is the study's mistake, not a cell's
    wrong = check_edits(base, spec, edits)
    if wrong:
        raise MetablockError("\n".join(problem.render() for problem in wrong))
    try:
        if study.match.by == "none":
            own = cost_of(spec)
            return Cell(name, changes, spec, spec_hash(spec), own, stage=stage)
        found = match(spec, cost.by(study.match.by), study.match.by, scale=study.match.scale, multiple=study.match.multiple)
    except MetablockError as problem:
        return Cell(name, changes, None, "", None, problem=_reason(problem), stage=stage)
    off = abs(found.residual) > study.match.tolerance
    return Cell(name, changes, found.spec, spec_hash(found.spec), found.cost, found.widths, found.residual, off, stage=stage)


def _reason(problem: MetablockError) -> str:
    """The message without its place and source line: what is wrong, and the hint."""
    lines = str(problem).strip().split("\n")
    first = re.sub(r"\S+:\d+:\d+: ", "", lines[0])
    hint = next((line.strip() for line in lines[1:] if line.startswith("  ") and not line.startswith("    ")), "")
    return f"{first} ({hint})" if hint else first
