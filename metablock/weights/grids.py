"""On which grid a table of a checkpoint lies, and what it is on ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backend.builder import on_meta
from ..errors import MetablockError
from ..front import InputSize, front
from ..language.spec import Spec
from ..lowering.ir import module_nodes
from ..operators.tables import Grid, GridTable, tables_of

Grids = Mapping[str, Sequence[Grid]]
# How the input size of a checkpoint is named, in Python and on the command line.
HINT = "name the input that they were trained on: weights_input='CxHxW' (--weights-input)"


class UnknownGridError(Exception):
    """A table whose grid is not known, or not the one that was named. The text says which grids it may have."""


@dataclass(frozen=True)
class Placed:
    """A checkpoint's table on our grid.

    Attributes:
        value: the table.
        resized: from which grid to which it was interpolated; empty for one that lies on ours.
        assumed: our grid, if the table was only taken to lie on it; otherwise empty.
    """

    value: Tensor
    resized: str
    assumed: str


class Tables:
    """The tables of a network, by parameter, and how those of checkpoints become ones of its grids.

    Args:
        model: the network.
        spec: what it was built from.
        input: the input size that the checkpoint was trained on, if the caller knows it.
    """

    def __init__(self, model: nn.Module, spec: Spec, input: InputSize | None = None):
        self.tables = tables_of(model)
        self.named = grids_at(spec, input) if input is not None else {}

    def placed(self, name: str, value: Tensor, shape: torch.Size, stated: Grids) -> Placed | None:
        """A table on our grid, interpolated if it lies on another; None for other tensors, and for one that fits no grid.

        Args:
            name: our parameter.
            value: the checkpoint's; it may have lost or gained extents of 1.
            shape: that of our parameter.
            stated: the grids that the checkpoint says its tables lie on.

        Raises:
            UnknownGridError: its grid is unknown, or cannot be the one that was named.
        """
        tables = self.tables.get(name, ())
        if not tables:
            return None
        spread = _spread(value, shape, tables[0])
        aligned = _aligned(value, shape, tables)
        if aligned is None:
            return None
        value = aligned
        said: list[str] = []
        assumed: list[str] = []
        for number, table in enumerate(tables):
            rows = value.shape[table.axis]
            old, sure = self._old(table, rows, spread or _at(stated, name, number), _at(self.named, name, number))
            if old is None:
                return None
            if old == table.grid:
                assumed += [] if sure else [_shown(old)]
                continue
            if table.mode is None:
                raise UnknownGridError(f"lies on {_shown(old)}, ours on {_shown(table.grid)}")
            if not value.is_meta:
                value = table.resampled(value, old)
            else:
                extents = list(value.shape)
                extents[table.axis] = table.rows(table.grid)
                value = value.new_empty(extents)
            said.append(f"{_shown(old)}{'' if sure else ', taken for a square,'} to {_shown(table.grid)}")
        return Placed(value, "; ".join(said), "; ".join(assumed))

    def _old(self, table: GridTable, rows: int, stated: Grid | None, named: Grid | None) -> tuple[Grid | None, bool]:
        """The grid on which so many rows lie, None if there is none; and whether that is known."""
        if stated is not None and len(stated) == len(table.grid) and table.rows(stated) == rows:
            return stated, True
        if named is not None and table.rows(named) == rows:
            return named, True
        if named is not None and named != table.grid:
            raise UnknownGridError(f"{rows} rows, and {_shown(named)} for the input that was named")
        ours = table.grid if table.rows(table.grid) == rows else None
        square = table.square(rows) if table.mode is not None else None
        if ours is not None and square is not None and ours != square:
            raise UnknownGridError(f"{rows} rows, of {_shown(square)} or of {_shown(ours)}?")
        sure = len(table.grid) == 1 or (ours is not None and len(set(ours)) == 1)  # (6, 8) has the rows of (8, 6)
        return ours or square, sure


def grids_at(spec: Spec, input: InputSize) -> dict[str, tuple[Grid, ...]]:
    """The grids of a network's tables for another input size, by parameter.

    Raises:
        MetablockError: the network cannot be built for that size.

    >>> from metablock.front import front
    >>> grids_at(front("vit_tiny_patch16_224").spec, "3x288x512")
    {'stem.position.weight': ((18, 32),)}
    """
    try:
        ir = front(spec, input=input, large=True).ir
    except MetablockError as problem:
        message = f"weights_input: the network cannot be built for it: {str(problem).strip().splitlines()[0]}"
        raise MetablockError(message, "name the size with its channels, without the batch: 3x288x512") from None
    result: dict[str, tuple[Grid, ...]] = {}
    for path, node in module_nodes(ir):
        tables = tables_of(on_meta(node))
        result |= {".".join((*path, name)): tuple(table.grid for table in below) for name, below in tables.items()}
    return result


def _aligned(value: Tensor, shape: torch.Size, tables: Sequence[GridTable]) -> Tensor | None:
    """The value with our number of axes, if the axes that are no table's have our extents; otherwise None."""
    axes = {table.axis for table in tables}
    if value.dim() == len(shape):
        return value if all(value.shape[axis] == n for axis, n in enumerate(shape) if axis not in axes) else None
    if len(axes) > 1 or not value.dim():
        return None
    (axis,) = axes
    before, after = shape[:axis].numel(), shape[axis + 1 :].numel()
    if value.numel() % (before * after) or (after > 1 and value.shape[-1] != shape[-1]):
        return None
    return value.reshape(*shape[:axis], -1, *shape[axis + 1 :])


def _spread(value: Tensor, shape: torch.Size, table: GridTable) -> Grid | None:
    """The grid of a table whose places have axes of their own, ``(1, 14, 14, 384)``; None for another shape."""
    rank = len(table.grid)
    if rank < 2 or table.extra or value.dim() != len(shape) - 1 + rank:
        return None
    extents = tuple(value.shape[table.axis : table.axis + rank])
    return tuple((n + 1) // 2 for n in extents) if table.offsets else extents


def _at(grids: Grids, name: str, number: int) -> Grid | None:
    entry = grids.get(name, ())
    return tuple(entry[number]) if number < len(entry) else None


def _shown(grid: Grid) -> str:
    return "x".join(map(str, grid))
