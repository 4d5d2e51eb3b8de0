"""Position biases that see the queries: their products with a vector for each offset of query and key."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rules.relative_keys import AtOffsetsRule, AtOwnOffsetsRule, OffsetsRule, OwnOffsetsRule, RelativeKeysRule, offset_counts
from .tables import GridTable, draw_table


class RelativeKeys(RelativeKeysRule, nn.Module):
    """``sum_a q_i . R_a[offset_a(i, j)]`` for each head: a table of vectors for each axis, or one for all axes together.

    ``forward(q)`` with ``q (b, ..., heads * d)`` of N tokens on ``grid``, prefix tokens first. Returns ``(b, heads, N, M)``,
    zeros where the query or the key is a prefix token. On an axis of n queries and m keys the offset is ``i max(m / n, 1) - j
    max(n / m, 1) + (m - 1) max(n / m, 1)``, rounded down, one of ``2 max(n, m) - 1``. All heads share the vectors.

    Args:
        heads: number of heads.
        keys: extents of the keys' grid.
        key_prefix: number of prefix tokens of the keys.
        joint: one vector for each offset along all axes, ``weight``, instead of one an axis, ``axes.0``, ``axes.1`` ...
        scale: factor on the products.
        std: standard deviation of the initial vectors (truncated normal).

    Example:
        >>> bias = RelativeKeys(8, (4, 4), 1, heads=2, keys=[2, 2], key_prefix=1)
        >>> bias(torch.zeros(1, 17, 8)).shape, bias.axes[0].shape
        (torch.Size([1, 2, 17, 5]), torch.Size([7, 4]))
    """

    roles = {"weight": "table", "axes": "table"}
    index: Tensor

    def __init__(
        self,
        c: int,
        grid: tuple[int, ...],
        prefix: int,
        *,
        heads: int,
        keys: list[int],
        key_prefix: int = 0,
        joint: bool = False,
        scale: float = 1.0,
        std: float = 0.02,
    ):
        super().__init__()
        self.grid, self.keys, self.prefixes = tuple(grid), tuple(keys), (prefix, key_prefix)
        self.heads, self.joint, self.scale, self.std = heads, joint, scale, std
        counts = offset_counts(grid, keys)
        if joint:
            self.weight = nn.Parameter(torch.empty(prod(counts), c // heads))
            self.register_buffer("index", torch.empty(prod(grid), prod(keys), dtype=torch.long), persistent=False)
        else:
            self.axes = nn.ParameterList([nn.Parameter(torch.empty(count, c // heads)) for count in counts])
            for axis, (n, m) in enumerate(zip(grid, keys, strict=True)):
                self.register_buffer(f"index{axis}", torch.empty(n, m, dtype=torch.long), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            draw_table(parameter, self.std)
        if self.joint:
            self.index.copy_(joint_offsets(self.grid, self.keys))
        else:
            for axis, (n, m) in enumerate(zip(self.grid, self.keys, strict=True)):
                self.get_buffer(f"index{axis}").copy_(offsets(n, m))

    def tables(self) -> dict[str, tuple[GridTable, ...]]:
        """How the vectors lie on the offsets of each axis."""
        wide = tuple(map(max, self.grid, self.keys))
        if self.joint:
            return {"weight": (GridTable(0, wide, offsets=True),)}
        return {f"axes.{axis}": (GridTable(0, (n,), offsets=True),) for axis, n in enumerate(wide)}

    def forward(self, q: Tensor) -> Tensor:
        q = q.flatten(1, -2)[:, self.prefixes[0] :].unflatten(-1, (self.heads, -1)).transpose(1, 2) * self.scale
        bias = by_offset(q @ self.weight.mT, self.index) if self.joint else self.by_axis(q.unflatten(2, self.grid))
        return F.pad(bias, (self.prefixes[1], 0, self.prefixes[0], 0)) if any(self.prefixes) else bias

    def by_axis(self, q: Tensor) -> Tensor:
        """The sum over the axes, from ``q (b, heads, *grid, d)``: ``(b, heads, N, M)``."""
        rank, names = len(self.grid), "xyz"[: len(self.grid)]
        parts: list[Tensor] = []
        for axis, name in enumerate(names):
            vectors = F.embedding(self.get_buffer(f"index{axis}"), self.axes[axis])
            part = torch.einsum(f"bh{names}d,{name}kd->bh{names}k", q, vectors)
            for other in range(rank):
                part = part if other == axis else part.unsqueeze(2 + rank + other)
            parts.append(part)
        return sum(parts[1:], parts[0]).flatten(2, 1 + rank).flatten(3)


class Offsets(OffsetsRule, nn.Module):
    """Each offset of query and key in places of the finer grid: ``() -> (1, *counts, rank)``, row by row.

    ``counts`` are ``2 max(n, m) - 1`` on an axis of n queries and m keys, and the offsets there ``1 - max(n, m) ... max(n, m) -
    1``.

    Args:
        keys: extents of the keys' grid.

    Example:
        >>> Offsets((2,), keys=[2])().flatten()
        tensor([-1.,  0.,  1.])
    """

    offsets: Tensor

    def __init__(self, grid: tuple[int, ...], *, keys: list[int]):
        super().__init__()
        self.counts = offset_counts(grid, keys)
        self.register_buffer("offsets", torch.empty(1, *self.counts, len(grid)), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        axes = [torch.arange(count, dtype=self.offsets.dtype, device=self.offsets.device) - count // 2 for count in self.counts]
        self.offsets.copy_(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1))

    def forward(self) -> Tensor:
        return self.offsets


class AtOffsets(AtOffsetsRule, nn.Module):
    """``q_i . r[offset(i, j)]`` for each head, from a vector for each offset: ``(b, heads, N, M)``.

    ``forward(q, r)`` with ``q (b, ..., heads * d)`` of N tokens on ``grid``, prefix tokens first, and ``r (1, ..., heads * d)``
    or ``(1, ..., d)``, a vector for each of :class:`Offsets`, for each head or for all.

    Args:
        heads: number of heads.
        keys: extents of the keys' grid.
        key_prefix: number of prefix tokens of the keys.
        scale: factor on the products.

    Example:
        >>> AtOffsets((5,), 0, heads=2, keys=[5])(torch.zeros(1, 5, 8), torch.zeros(1, 9, 8)).shape
        torch.Size([1, 2, 5, 5])
    """

    index: Tensor

    def __init__(
        self, grid: tuple[int, ...], prefix: int, *, heads: int, keys: list[int], key_prefix: int = 0, scale: float = 1.0
    ):
        super().__init__()
        self.grid, self.keys, self.prefixes, self.heads, self.scale = tuple(grid), tuple(keys), (prefix, key_prefix), heads, scale
        self.register_buffer("index", torch.empty(prod(grid), prod(keys), dtype=torch.long), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.index.copy_(joint_offsets(self.grid, self.keys))

    def forward(self, q: Tensor, r: Tensor) -> Tensor:
        q = q.flatten(1, -2)[:, self.prefixes[0] :].unflatten(-1, (self.heads, -1)).transpose(1, 2) * self.scale
        r = r[0].flatten(0, -2).unflatten(-1, (-1, q.shape[-1])).permute(1, 2, 0)  # heads or 1, d, T
        bias = by_offset(q @ r, self.index)
        return F.pad(bias, (self.prefixes[1], 0, self.prefixes[0], 0)) if any(self.prefixes) else bias


class OwnOffsets(OwnOffsetsRule, nn.Module):
    """:class:`Offsets` of queries and keys on one grid, whatever its extents: ``(b, *grid, c) -> (1, *counts, rank)``.

    Example:
        >>> OwnOffsets()(torch.zeros(1, 2, 8)).flatten()
        tensor([-1.,  0.,  1.])
    """

    def forward(self, q: Tensor) -> Tensor:
        return own_offsets(q)


class AtOwnOffsets(AtOwnOffsetsRule, nn.Module):
    """:class:`AtOffsets` of queries and keys on one grid, whatever its extents: ``(b, heads, N, N)``.

    ``forward(q, r)`` with ``q (b, *grid, heads * d)``, and ``r`` as there.

    Args:
        heads: number of heads.
        scale: factor on the products.

    Example:
        >>> AtOwnOffsets(heads=2)(torch.zeros(1, 5, 8), torch.zeros(1, 9, 8)).shape
        torch.Size([1, 2, 5, 5])
    """

    def __init__(self, *, heads: int, scale: float = 1.0):
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, q: Tensor, r: Tensor) -> Tensor:
        index = own_index(q)
        q = q.flatten(1, -2).unflatten(-1, (self.heads, -1)).transpose(1, 2) * self.scale
        r = r[0].flatten(0, -2).unflatten(-1, (-1, q.shape[-1])).permute(1, 2, 0)  # heads or 1, d, T
        return by_offset(q @ r, index)


def own_offsets(q: Tensor) -> Tensor:
    """The offsets between the places of ``q (b, *grid, c)``: ``(1, *counts, rank)``, in its dtype."""
    axes = [torch.arange(1 - n, n, dtype=q.dtype, device=q.device) for n in q.shape[1:-1]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)[None]


def own_index(q: Tensor) -> Tensor:
    """The number of the offset of each two places of ``q (b, *grid, c)`` along all axes, ``(N, N)``, row by row."""
    index = torch.zeros(1, 1, dtype=torch.long, device=q.device)
    for n in q.shape[1:-1]:
        line = torch.arange(n, device=q.device)
        along = line[:, None] - line + (n - 1)
        index = (index[:, None, :, None] * (2 * n - 1) + along[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    return index


def offsets(n: int, m: int) -> Tensor:
    """The number of the offset of each of ``n`` queries and ``m`` keys of an axis, ``(n, m)``, as MViTv2 counts them.

    >>> offsets(2, 4)
    tensor([[3, 2, 1, 0],
            [5, 4, 3, 2]])
    """
    query, key = max(m / n, 1.0), max(n / m, 1.0)
    places = torch.arange(n)[:, None] * query - torch.arange(m) * key + (m - 1) * key
    return places.long()


def joint_offsets(grid: Sequence[int], keys: Sequence[int]) -> Tensor:
    """The number of the offset of each query and key along all axes, ``(N, M)``, row by row."""
    index = torch.zeros(1, 1, dtype=torch.long)
    for n, m, count in zip(grid, keys, offset_counts(grid, keys), strict=True):
        # Axis by axis, (i, j) x (i_a, j_a): the index of the axes so far becomes the slower digit.
        index = (index[:, None, :, None] * count + offsets(n, m)[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    return index


def by_offset(products: Tensor, index: Tensor) -> Tensor:
    """The product of each query with the offset of each key: ``(b, h, N, T), (N, M) -> (b, h, N, M)``."""
    return products.gather(-1, index.expand(products.shape[0], products.shape[1], -1, -1))


# They read sizes, which torch.fx does not know: each is one node of a graph that it traces.
torch.fx.wrap("by_offset")
torch.fx.wrap("own_index")
torch.fx.wrap("own_offsets")
