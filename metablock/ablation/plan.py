"""Plans a study: every network that it compares, with its cost, before anything trains."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import MetablockError, SpecError
from ..front import front, sized
from ..language.check import check_edits
from ..language.edits import apply
from ..language.format import spec_hash
from ..language.spec import Edit, Spec
from ..lowering.network import input_features
from ..shape import Feature
from .identity import code_of
from .matching import Cost, cost_of, match
from .progress import Progress, silent
from .study import Level, Study, repeated

BASE = "base"
MAX_CELLS = 10_000

# What one cell changes: the factor's name, its level, and the stage in a placement sweep.
Change = tuple[str, Level, int | None]


@dataclass(frozen=True)
class Cell:
    """One network of a study. A cell that cannot be built stays in the table, with its ``problem``.

    Attributes:
        name: what tables call it.
        levels: the names of factor and level of each change; empty for the base.
        spec: resolved, with the data's input and classes and matched widths; None if it cannot be built.
        hash: of the spec, equal for two cells with the same network; empty if it cannot be built.
        cost: parameters and MACs; None if it cannot be built.
        widths: the widths that match the cost; empty if they are the base's.
        residual: relative difference to the base in the matched cost.
        off: whether the residual is beyond the tolerance.
        problem: why it cannot be built, in one line.
        stage: of a placement sweep, the stage that changes.
        code: digests of its code, part of the identity of its runs (:func:`metablock.ablation.identity.code_of`).
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
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def base(self) -> bool:
        """Whether this is the base, with which the other cells are compared."""
        return not self.levels


def plan(study: Study, input: Feature, classes: int, progress: Progress = silent) -> list[Cell]:
    """The cells of a study, the base first. Allocates no weights.

    Args:
        study: what varies.
        input: the shape of an example.
        classes: the number of classes.
        progress: called before each cell.

    Returns:
        One cell for each network; of levels that make the same network the first.

    Raises:
        MetablockError: the base cannot be built, an edit names nothing, or there are too many cells.

    >>> from metablock.ablation.study import edits_of, parse_swap
    >>> study = Study("mixers", "poolformer_s12", edits=edits_of(["depth = [1, 1, 1, 1]"]))
    >>> study = replace(study, factors=(parse_swap("token = pool(3), dw(7), attention(5)", study.resolved()),))
    >>> cells = plan(study, Feature("map", 1, (32, 32)), classes=10)
    >>> [cell.name for cell in cells]
    ['base: token = pool(3)', 'token = dw(7)', 'token = attention(5)']
    >>> cells[2].problem
    '5 heads do not divide 64 channels (choose another number of heads, or give `head_dim=`)'
    """
    base = sized(study.resolved(), classes=classes, input=input)
    cost = cost_of(base)
    cells = [Cell(BASE, (), base, spec_hash(base), cost, code=_code(base))]
    changes = list(combinations(study))
    if len(changes) > MAX_CELLS:
        hint = "fewer levels, or design: one_at_a_time; `metablock search` looks at some"
        raise MetablockError(f"the study has {len(changes)} cells", hint)
    if (name := repeated(_name(levels) for levels in changes)) is not None:
        raise MetablockError(f"two variants of this study are called '{name}'", "give one of the levels another name")
    for number, levels in enumerate(changes):
        progress(_name(levels), number, len(changes))
        cells.append(cell_of(study, base, cost, levels))
    same = next((cell.name for cell in cells[1:] if cell.hash == cells[0].hash), None)
    if same is not None:  # a level may be what the base has
        cells[0] = replace(cells[0], name=f"{BASE}: {same}")
    first: dict[str, str] = {}
    for cell in cells:
        first.setdefault(cell.hash, cell.name)
    return [cell for cell in cells if not cell.hash or first[cell.hash] == cell.name]


def combinations(study: Study) -> Iterator[list[Change]]:
    """What each cell changes: one level (``one_at_a_time``), or one level of each factor (``grid``)."""
    factors = [
        [(factor.name, level, factor.sweep[i][1] if factor.sweep else None) for i, level in enumerate(factor.levels)]
        for factor in study.factors
    ]
    if study.design == "grid":
        yield from (list(combination) for combination in itertools.product(*factors) if combination)
    else:
        yield from ([change] for changes in factors for change in changes)


def _name(changes: Sequence[Change]) -> str:
    return ", ".join(
        f"{factor} = {level.name}" if len(level.edits) == 1 or level.method else level.name for factor, level, _ in changes
    )


def cell_of(study: Study, base: Spec, cost: Cost, changes: Sequence[Change]) -> Cell:
    """Makes one cell: its edits, then widths that match the cost.

    Args:
        study: says what is matched.
        base: the base's resolved spec, with input and classes.
        cost: of the base.
        changes: the levels of this cell.

    Returns:
        The cell; where its network cannot be built, with the problem instead of a spec.

    Raises:
        MetablockError: an edit names nothing: a mistake in the study, not in one cell.
    """
    name, levels = _name(changes), tuple((factor, level.name) for factor, level, _ in changes)
    stage = next((at for _, _, at in changes if at is not None), None)
    edits: list[Edit] = [edit for _, level, _ in changes for edit in level.edits]
    try:
        way = next((level.method for _, level, _ in changes if level.method is not None), None)
        start = base if way is None else sized(study.resolved(way), classes=base.classes, input=input_features(base)[0])
    except MetablockError as problem:
        return Cell(name, levels, None, "", None, problem=_reason(problem), stage=stage)
    spec = apply(start, edits)
    problems = check_edits(start, spec, edits)
    if problems:
        raise SpecError(problems)
    try:
        if study.match.by == "none":
            return Cell(name, levels, spec, spec_hash(spec), cost_of(spec), stage=stage, code=_code(spec))
        target = cost.by(study.match.by)
        matched = match(spec, target, study.match.by, scale=study.match.scale, multiple=study.match.multiple)
    except MetablockError as problem:
        return Cell(name, levels, None, "", None, problem=_reason(problem), stage=stage)
    off = abs(matched.residual) > study.match.tolerance
    hash, code = spec_hash(matched.spec), _code(matched.spec)
    return Cell(name, levels, matched.spec, hash, matched.cost, matched.widths, matched.residual, off, stage=stage, code=code)


def _code(spec: Spec) -> dict[str, str]:
    return code_of(front(spec, large=True))


def _reason(problem: MetablockError) -> str:
    """A message in one line: what is wrong, and the hint in brackets, without place and source line."""
    lines = str(problem).strip().split("\n")
    first = re.sub(r"\S+:\d+:\d+: ", "", lines[0])
    hint = next((line.strip() for line in lines[1:] if line.startswith("  ") and not line.startswith("    ")), "")
    return f"{first} ({hint})" if hint else first
