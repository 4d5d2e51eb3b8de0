"""Constants of positions: coordinates, and waves along them. Computed from the extents of what arrives, for any size.

They have no parameters and no buffers: a network that holds them can be called on other sizes, and converting it to half
precision rounds what leaves, not what is computed, which is float32 (float64 for float64).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .rules.waves import AxialRule, CoordinatesRule, FourierRule, SineRule

# How channels are ordered, from the slowest to the fastest: axes of the grid, sine and cosine, frequencies.


class Coordinates(CoordinatesRule, nn.Module):
    """The coordinates of each position, a channel an axis: ``(b, *grid, c) -> (b, *grid, rank)``.

    Args:
        kind: on an axis of ``n`` positions: ``"index"``: 0 ... n - 1. ``"unit"``: 0 ... 1. ``"signed"``: -1 ... 1, the first and
            the last position. ``"centers"``: (i + 0.5) / n, the middles of cells. ``"signed_centers"``: these from -1 to 1.

    Example:
        >>> Coordinates(kind="signed")(torch.zeros(1, 3, 8))
        tensor([[[-1.],
                 [ 0.],
                 [ 1.]]])
    """

    def __init__(self, *, kind: str = "index"):
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return coordinate_table(x, self.kind)

    def extra_repr(self) -> str:
        return f'"{self.kind}"'


class Sine(SineRule, nn.Module):
    """Sines and cosines of positions: ``(b, *grid, c) -> (b, *grid, out)``, ``sin(p / temperature ** (k / bands))`` and cosines.

    Each axis has ``bands = out / (2 rank)`` frequencies ``k``, from 1 down to almost ``1 / temperature``.

    Args:
        out: number of channels, a multiple of twice the number of axes.
        temperature: the largest wavelength is almost 2 pi times this one.
        order: how channels are ordered, from the slowest to the fastest: ``"axis wave band"``: an axis after the other, in each
            its sines, then its cosines.
        start: the first position, from which they are counted.
        normalize: whether positions are divided by the last one (plus 1e-6) and multiplied by 2 pi.
        reverse: whether the last axis comes first.
        shift: is added to the positions before they are divided, but not to the last one that they are divided by.

    Example:
        >>> Sine(out=4, start=0.0)(torch.zeros(1, 2, 8))
        tensor([[[0.0000, 0.0000, 1.0000, 1.0000],
                 [0.8415, 0.0100, 0.5403, 0.9999]]])
    """

    def __init__(
        self,
        *,
        out: int,
        temperature: float = 10000.0,
        order: str = "axis wave band",
        start: float = 0.0,
        normalize: bool = False,
        reverse: bool = False,
        shift: float = 0.0,
    ):
        super().__init__()
        self.out, self.temperature, self.order = out, temperature, order
        self.start, self.normalize, self.reverse, self.shift = start, normalize, reverse, shift

    def forward(self, x: Tensor) -> Tensor:
        return sine_table(x, self.out, self.temperature, self.order, self.start, self.normalize, self.reverse, self.shift)

    def extra_repr(self) -> str:
        return f'{self.out}, temperature={self.temperature:g}, order="{self.order}"'


class Fourier(FourierRule, nn.Module):
    """Fourier features of positions: ``(b, *grid, c) -> (b, *grid, out)``, ``sin(pi f p)`` and cosines of ``p`` in -1 ... 1.

    Args:
        out: number of channels, a multiple of twice the number of axes; each axis has ``out / (2 rank)`` frequencies ``f``.
        resolution: twice the highest frequency. They begin at 1.
        spacing: of the frequencies: ``"linear"``, or ``"log"``: powers.
        order: how channels are ordered, from the slowest to the fastest.
        reverse: whether the last axis comes first.

    Example:
        >>> Fourier(out=2)(torch.zeros(1, 3, 8))[0, 1]
        tensor([0., 1.])
    """

    def __init__(
        self,
        *,
        out: int,
        resolution: float = 224.0,
        spacing: str = "linear",
        order: str = "wave band axis",
        reverse: bool = False,
    ):
        super().__init__()
        self.out, self.resolution, self.spacing, self.order, self.reverse = out, resolution, spacing, order, reverse

    def forward(self, x: Tensor) -> Tensor:
        return fourier_table(x, self.out, self.resolution, self.spacing, self.order, self.reverse)

    def extra_repr(self) -> str:
        return f'{self.out}, resolution={self.resolution:g}, spacing="{self.spacing}", order="{self.order}"'


class Axial(AxialRule, nn.Module):
    """Angles for rotary positions: ``(b, *grid, c) -> (b, *grid, out)``, ``p / theta ** (k / bands)``, axis by axis.

    What leaves is float32 for half precision, too.

    Args:
        out: number of angles, a multiple of the number of axes; each axis has ``bands = out / rank`` frequencies ``k``.
        theta: the base of the frequencies.
        kind: of the coordinates ``p``, as :class:`Coordinates` has them; all but ``"index"`` are multiplied by 2 pi.
        extent: extents that the indices are stretched to: ``p = i / n * extent``; one number or one an axis.
        reverse: whether the last axis comes first.

    Example:
        >>> Axial(out=2, theta=100.0)(torch.zeros(1, 3, 8))
        tensor([[[0.0000, 0.0000],
                 [1.0000, 0.1000],
                 [2.0000, 0.2000]]])
    """

    def __init__(
        self,
        *,
        out: int,
        theta: float = 100.0,
        kind: str = "index",
        extent: int | list[int] | None = None,
        reverse: bool = False,
    ):
        super().__init__()
        self.out, self.theta, self.kind, self.extent, self.reverse = out, theta, kind, extent, reverse

    def forward(self, x: Tensor) -> Tensor:
        return axial_table(x, self.out, self.theta, self.kind, self.extent, self.reverse)

    def extra_repr(self) -> str:
        return f'{self.out}, theta={self.theta:g}, kind="{self.kind}", extent={self.extent}'


def coordinate_table(x: Tensor, kind: str) -> Tensor:
    """The coordinates of the positions of ``x (b, *grid, c)``: ``(b, *grid, rank)``, in its dtype."""
    axes = _coordinates(x.shape[1:-1], kind, _precise(x), x.device)
    return _spread(x, _mesh([axis[:, None] for axis in axes]).flatten(-2)).to(x.dtype)


def sine_table(
    x: Tensor,
    out: int,
    temperature: float,
    order: str,
    start: float,
    normalize: bool,
    reverse: bool = False,
    shift: float = 0.0,
) -> Tensor:
    """:class:`Sine` on the positions of ``x (b, *grid, c)``: ``(b, *grid, out)``, in its dtype."""
    table = sines(x.shape[1:-1], out, temperature, order, start, normalize, reverse, _precise(x), x.device, shift)
    return _spread(x, table.to(x.dtype))


def sines(
    grid: Sequence[int],
    out: int,
    temperature: float = 10000.0,
    order: str = "axis wave band",
    start: float = 0.0,
    normalize: bool = False,
    reverse: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
    shift: float = 0.0,
) -> Tensor:
    """The table of :class:`Sine`, ``(*grid, out)``. On one axis ``out`` may be odd in the order ``"axis band wave"``.

    >>> sines((2,), 3, order="axis band wave")[1].tolist() == [math.sin(1), math.cos(1), math.sin(10000 ** (-2 / 3))]
    True
    """
    axes = [axis + start for axis in _coordinates(grid, "index", dtype, device)]
    if normalize:
        axes = [(axis + shift) / (n - 1 + start + 1e-6) * (2 * math.pi) for axis, n in zip(axes, grid, strict=True)]
    elif shift:
        axes = [axis + shift for axis in axes]
    each = out / (2 * len(grid))
    periods = temperature ** (torch.arange(math.ceil(each), dtype=dtype, device=device) / each)
    return _waves([axis[:, None] / periods for axis in axes], order, reverse)[..., :out]


def fourier_table(x: Tensor, out: int, resolution: float, spacing: str, order: str, reverse: bool) -> Tensor:
    """:class:`Fourier` on the positions of ``x (b, *grid, c)``: ``(b, *grid, out)``, in its dtype."""
    dtype, grid = _precise(x), x.shape[1:-1]
    bands, highest = out // (2 * len(grid)), resolution / 2
    if spacing == "linear":
        frequencies = torch.linspace(1.0, highest, bands, dtype=dtype, device=x.device)
    else:
        frequencies = 2 ** torch.linspace(0.0, math.log2(highest), bands, dtype=dtype, device=x.device)
    axes = _coordinates(grid, "signed", dtype, x.device)
    return _spread(x, _waves([axis[:, None] * (frequencies * math.pi) for axis in axes], order, reverse).to(x.dtype))


def axial_table(x: Tensor, out: int, theta: float, kind: str, extent: int | list[int] | None, reverse: bool) -> Tensor:
    """:class:`Axial` on the positions of ``x (b, *grid, c)``: ``(b, *grid, out)``, at least in float32."""
    dtype, grid = _precise(x), x.shape[1:-1]
    axes = _coordinates(grid, kind, dtype, x.device)
    if extent is not None:
        extents = [extent] * len(grid) if isinstance(extent, int) else extent
        axes = [axis / n * m for axis, n, m in zip(axes, grid, extents, strict=True)]
    if kind != "index":
        axes = [axis * (2 * math.pi) for axis in axes]
    bands = out // len(grid)
    periods = theta ** (torch.arange(bands, dtype=dtype, device=x.device) / bands)
    angles = _mesh([axis[:, None] / periods for axis in axes])
    return _spread(x, (angles.flip(-2) if reverse else angles).flatten(-2))


def _precise(x: Tensor) -> torch.dtype:
    """The dtype to compute in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _coordinates(grid: Sequence[int], kind: str, dtype: torch.dtype, device: torch.device | None) -> list[Tensor]:
    """The coordinates along each axis."""
    return [_line(n, kind, dtype, device) for n in grid]


def _line(n: int, kind: str, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    index = torch.arange(n, dtype=dtype, device=device)
    if kind == "index":
        return index
    unit = index / max(n - 1, 1) if kind in ("unit", "signed") else (index + 0.5) / n
    return unit * 2 - 1 if kind.startswith("signed") else unit


def _mesh(tables: list[Tensor]) -> Tensor:
    """Tables of the axes, ``(n, ...)`` each, at every position: ``(*grid, rank, ...)``."""
    grid, rest = [table.shape[0] for table in tables], tables[0].shape[1:]
    placed = []
    for axis, table in enumerate(tables):
        view = [1] * len(grid)
        view[axis] = grid[axis]
        placed.append(table.view(*view, *rest).expand(*grid, *rest))
    return torch.stack(placed, len(grid))


def _waves(angles: list[Tensor], order: str, reverse: bool) -> Tensor:
    """Sines and cosines of the angles of each axis, ``(n, bands)``, in an order: ``(*grid, out)``."""
    table = _mesh([torch.stack([angle.sin(), angle.cos()], 1) for angle in angles])
    rank = len(angles)
    if reverse:
        table = table.flip(rank)
    places = [("axis", "wave", "band").index(word) for word in order.split()]
    return table.permute(*range(rank), *(rank + place for place in places)).flatten(rank)


def _spread(x: Tensor, table: Tensor) -> Tensor:
    """A table for every item of the batch of ``x``."""
    return table.expand(x.shape[0], *table.shape)


# They read sizes, which torch.fx does not know: each is one node of a graph that it traces.
torch.fx.wrap("coordinate_table")
torch.fx.wrap("sine_table")
torch.fx.wrap("fourier_table")
torch.fx.wrap("axial_table")
