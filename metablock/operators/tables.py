"""Tables of parameters on a grid: how they lie there, and what they are on another grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from .resize import MODES, interpolate

Grid = tuple[int, ...]

# The key under which a state dict, or the metadata of a file, says on which grids its tables lie.
GRIDS = "grids"
# That under which weights of a method's network hold the text of the method.
METHOD = "method"


@dataclass(frozen=True)
class GridTable:
    """How an axis of a parameter lies on a grid: a row for each place, in row-major order.

    Attributes:
        axis: the axis of the parameter.
        grid: the extents.
        extra: the number of rows beside those of the grid (of prefix tokens).
        last: whether these come after those of the grid, not before.
        offsets: whether the rows stand for the offsets between two places, ``2 g - 1`` of them an axis.
        mirrored: whether both directions of an offset share a row, so that there are ``g`` an axis.
        mode: how rows are interpolated (``"bicubic"``, ``"bilinear"``, ``"nearest"``); None: they cannot be.
        antialias: whether to low-pass, in two dimensions.

    >>> GridTable(0, (7, 7), offsets=True).rows((7, 7)), GridTable(1, (14, 14), extra=1).square(577)
    (169, (24, 24))
    """

    axis: int
    grid: Grid
    extra: int = 0
    last: bool = False
    offsets: bool = False
    mirrored: bool = False
    mode: str | None = "bilinear"
    antialias: bool = False

    def rows(self, grid: Grid) -> int:
        """The number of rows of the table on this grid."""
        return self.extra + prod(self._places(grid))

    def square(self, rows: int) -> Grid | None:
        """The square (cubic) grid on which a table has so many rows; None if there is none."""
        rank = len(self.grid)
        side = round(max(0, rows - self.extra) ** (1 / rank))
        g = (side + 1) // 2 if self.offsets and not self.mirrored else side
        return (g,) * rank if g > 0 and self.rows((g,) * rank) == rows else None

    def resampled(self, value: Tensor, old: Grid) -> Tensor:
        """A parameter whose axis lies on the grid ``old``, for this grid. Its other axes may have any extents.

        Computes in float32, in float64 for float64; gives the dtype of ``value``.
        """
        assert self.mode is not None
        rows = value.movedim(self.axis, 0)
        rest = rows.shape[1:]
        rows = rows.flatten(1) if rest else rows[:, None]
        beside, rows = (rows[-self.extra :], rows[: -self.extra]) if self.last and self.extra else rows.tensor_split([self.extra])
        places = rows.T.reshape(1, -1, *self._places(old))
        places = places if places.dtype == torch.float64 else places.float()
        if self.mirrored:  # interpolates the offsets of both directions, and keeps those from 0
            for axis in range(2, places.dim()):
                places = torch.cat([places.flip(axis).narrow(axis, 0, places.shape[axis] - 1), places], axis)
        wanted = tuple(2 * g - 1 for g in self.grid) if self.offsets or self.mirrored else self.grid
        rank = len(self.grid)
        mode = self.mode if rank in MODES[self.mode] else "bilinear"
        smooth = self.antialias and rank == 2 and mode != "nearest"
        places = interpolate(places, wanted, mode, smooth)
        if self.mirrored:
            places = places[:, :, *(slice(g - 1, None) for g in self.grid)]
        rows = places.flatten(2)[0].T.to(value.dtype)
        rows = torch.cat([rows, beside] if self.last else [beside, rows])
        return rows.reshape(-1, *rest).movedim(0, self.axis)

    def _places(self, grid: Grid) -> Grid:
        return tuple(2 * g - 1 for g in grid) if self.offsets and not self.mirrored else grid


def draw_table(weight: Tensor, std: float) -> None:
    """Fills a table from a normal distribution of this deviation, cut at 2; for 0 with zeros."""
    if std:
        nn.init.trunc_normal_(weight, std=std)
    else:
        nn.init.zeros_(weight)


def tables_of(module: nn.Module) -> dict[str, tuple[GridTable, ...]]:
    """The tables below a module, by the names of their parameters; most lie on a grid with one axis, some with two.

    >>> from .position import Position
    >>> tables_of(Position(8, (4, 6), 1))["weight"][0].grid
    (4, 6)
    """
    result: dict[str, tuple[GridTable, ...]] = {}
    for path, part in module.named_modules():
        own: Mapping[str, tuple[GridTable, ...]] = part.tables() if callable(getattr(part, "tables", None)) else {}
        result |= {f"{path}.{name}" if path else name: tables for name, tables in own.items()}
    return result


def grids_of(module: nn.Module) -> dict[str, list[list[int]]]:
    """The grids of all tables below a module, by parameter, as plain lists: what a checkpoint says of them.

    >>> from .position import Position
    >>> grids_of(Position(8, (4, 6), 1))
    {'weight': [[4, 6]]}
    """
    return {name: [list(table.grid) for table in tables] for name, tables in tables_of(module).items()}
