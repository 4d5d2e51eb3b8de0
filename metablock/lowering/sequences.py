"""Sequences on a grid: each line along one axis becomes a sequence, all other axes go into the batch; and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import error
from .ir import Value

if TYPE_CHECKING:
    from .emitter import Emitter

AXES = '"rows", "columns", or the number of an axis'


@dataclass(frozen=True)
class Lines:
    """How values were taken apart into sequences.

    Attributes:
        axis: the axis of the grid that the sequences run along; None: the tokens in a row.
        whole: the value with that axis last, before the others went into the batch.
    """

    axis: int | None
    whole: Value


def sequences(ir: Emitter, value: Value, over: str | int | None) -> tuple[Value, Lines]:
    """The sequences of a value: ``(b * lines, n, c)`` in the layout ``tokens``. Lines count as windows of their image.

    Args:
        ir: writes the expressions.
        value: a map, a grid or tokens.
        over: the axis: ``"rows"``: along the last axis; ``"columns"``: along the one before; a number; None: the tokens in a row.

    Raises:
        SpecError: there is no such axis; prefix tokens, which lie on no axis.

    >>> from metablock.lowering.emitter import Emitter
    >>> from metablock.shape import Feature
    >>> ir = Emitter()
    >>> rows, lines = sequences(ir, ir.value(Feature("map", 8, (4, 6))), "rows")
    >>> str(rows.feature), rows.feature.windows, str(together(ir, rows, lines).feature)
    ('tokens 6 x 8', 4, 'tokens 4x6 x 8')
    """
    if over is None:
        row = ir.cast(value, "tokens")
        return row, Lines(None, row)
    grid = ir.cast(value, "grid")
    f = grid.feature
    axis = _axis(over, f.rank)
    if f.rank == 1:
        row = ir.cast(grid, "tokens")
        return row, Lines(None, row)
    others = (*f.grid[:axis], *f.grid[axis + 1 :])
    if axis != f.rank - 1:
        grid = ir.inline(f"{{0}}.movedim({axis + 1}, -2)", [grid], f.with_(grid=(*others, f.grid[axis])))
    shape = f.with_(layout="tokens", grid=(f.grid[axis],), around=(*f.around, others))
    return ir.inline(f"{{0}}.flatten(0, {f.rank - 1})", [grid], shape), Lines(axis, grid)


def together(ir: Emitter, value: Value, lines: Lines) -> Value:
    """The inverse of :func:`sequences`, for a value of the same number of positions; the width may have changed."""
    f, whole = value.feature, lines.whole.feature
    if lines.axis is None:
        result = ir.inline("{0}", [value], whole.with_(c=f.c)) if f != whole.with_(c=f.c) else value
        return result if whole.prefix else ir.cast(result, "grid")
    rank = whole.rank
    grid = ir.inline(f"{{0}}.unflatten(0, {{1}}.shape[:{rank}])", [value, lines.whole], whole.with_(c=f.c))
    if lines.axis == rank - 1:
        return grid
    extents = list(whole.grid[:-1])
    extents.insert(lines.axis, whole.grid[-1])
    return ir.inline(f"{{0}}.movedim(-2, {lines.axis + 1})", [grid], grid.feature.with_(grid=tuple(extents)))


def _axis(over: str | int, rank: int) -> int:
    """The number of an axis. Raises SpecError if a grid of this rank does not have it."""
    axis = {"rows": rank - 1, "columns": rank - 2}.get(over, -1) if isinstance(over, str) else over
    if isinstance(over, str) and over not in ("rows", "columns"):
        raise error(f'unknown axis "{over}"', hint=AXES)
    if not 0 <= axis < rank:
        name = f'"{over}"' if isinstance(over, str) else f"axis {over}"
        raise error(f"there is no {name} on {rank} ax{'e' if rank > 1 else 'i'}s", hint="axes are numbered from 0")
    return axis
