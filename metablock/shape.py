"""The shape of a value before a tensor exists: its layout and its integer extents. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

Layout = Literal["map", "grid", "tokens", "vector", "table", "order", "ids"]
LAYOUTS: tuple[Layout, ...] = ("map", "grid", "tokens", "vector")


@dataclass(frozen=True)
class Feature:
    """The shape of a value in a network, without its batch.

    ======  =====================  ==================================================================
    layout  tensor                 remarks
    ======  =====================  ==================================================================
    map     ``(b, c, *grid)``      one, two or three spatial dimensions
    grid    ``(b, *grid, c)``      tokens without prefix, kept on their grid: channels last, no size needed to convert
    tokens  ``(b, prefix + N, c)`` ``N = prod(grid)``; the first ``prefix`` tokens (a class token) have no place on the grid
    vector  ``(b, c)``             one value per channel
    table   ``(c, *grid)``         no batch: a bias added to the logits of ``c`` heads, between two sets of tokens
    order   ``(b, N, 1)``          a permutation of tokens (the result of ``argsort``); ``grid`` is the one they came from
    ids     ``(b, N)``             whole numbers below ``c``: rows of a table; ``padding_id`` stands for no token
    ======  =====================  ==================================================================

    ``around`` counts the windows that an image is cut into (inside ``window``, after ``windows``), along each axis, the outermost
    cut first. Windows lie in the batch, those of one image one after the other. ``of`` is the number of tokens of the whole order
    where this is a part of one. ``ungridded`` says, for messages, which operator dropped the grid; features that differ in it
    alone are equal.

    >>> x = Feature("map", 64, (14, 14))
    >>> x.size(batch=8), str(x)
    ((8, 64, 14, 14), 'map 64 x 14x14')
    >>> Feature("tokens", 192, (14, 14), prefix=1).size()
    (1, 197, 192)
    >>> str(Feature("order", 1, (2, 3))), str(Feature("vector", 8)), str(Feature("ids", 512, (24,)))
    ('order of 6 tokens', 'vector of 8', '24 ids of 512')
    >>> [Feature(layout, 8, (2, 3)).size(4) for layout in ("map", "grid", "tokens", "vector", "table", "order")]
    [(4, 8, 2, 3), (4, 2, 3, 8), (4, 6, 8), (4, 8), (8, 2, 3), (4, 6, 8)]
    """

    layout: Layout
    c: int
    grid: tuple[int, ...] = ()
    prefix: int = 0
    around: tuple[tuple[int, ...], ...] = ()
    of: int | None = None
    padding_id: int | None = None
    ungridded: str | None = field(default=None, compare=False, repr=False)

    @property
    def rank(self) -> int:
        """Number of spatial dimensions."""
        return len(self.grid)

    @property
    def windows(self) -> int:
        """The number of windows of one image: its items in the batch."""
        return prod(prod(counts) for counts in self.around)

    @property
    def n(self) -> int:
        """Number of tokens, prefix included."""
        return self.prefix + prod(self.grid) if self.layout != "vector" else 1

    def with_(self, **changes: object) -> Feature:
        """A copy with these fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def size(self, batch: int = 1) -> tuple[int, ...]:
        """The shape of the tensor for a batch of this many images."""
        b = batch * self.windows
        if self.layout == "map":
            return (b, self.c, *self.grid)
        if self.layout == "grid":
            return (b, *self.grid, self.c)
        if self.layout in ("tokens", "order"):
            return (b, self.n, self.c)
        if self.layout == "ids":
            return (b, *self.grid)
        return (b, self.c) if self.layout == "vector" else (self.c, *self.grid)

    def resized(self, size: Sequence[int]) -> Feature:
        """The feature whose tensor has this size, without the batch. For maps, grids and ids.

        >>> str(Feature("grid", 8, (4,)).resized((6, 8))), str(Feature("map", 8, (4, 4)).resized((8, 6, 6)))
        ('tokens 6 x 8', 'map 8 x 6x6')
        """
        start = 1 if self.layout == "map" else 0
        return self.with_(grid=tuple(size[start : start + self.rank]))

    def __str__(self) -> str:
        extents = "x".join(map(str, self.grid))
        if self.layout == "vector":
            return f"vector of {self.c}"
        if self.layout == "order":
            return f"order of {self.n} tokens"
        if self.layout == "ids":
            return f"{self.n} ids of {self.c}"
        if self.layout == "map":
            return f"map {self.c} x {extents}"
        prefix = f"{self.prefix} + " if self.prefix else ""
        return f"tokens {prefix}{extents} x {self.c}"
