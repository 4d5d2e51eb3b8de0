"""Affine maps of features, their composition and their sum: the algebra behind re-parameterisation.

A map is a convolution with zero padding and a bias; dilation is written out as zeros in its kernel. A batch norm in evaluation, a
scale and the identity are depthwise convolutions of extent one; a linear layer is a convolution of extent one. On ``meta`` only
shapes are computed: this is how the pass compares weights before it computes any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd
from typing import Any

import torch
from torch import Tensor

Extents = tuple[int, ...]


@dataclass(frozen=True)
class Affine:
    """``y = kernel * x + bias``, with a kernel ``(out, in / groups, *extents)``; None as bias means exactly zero."""

    kernel: Tensor
    bias: Tensor | None
    stride: Extents
    padding: Extents
    groups: int

    @property
    def extents(self) -> Extents:
        return tuple(self.kernel.shape[2:])

    @property
    def rank(self) -> int:
        return self.kernel.dim() - 2

    @property
    def out(self) -> int:
        return self.kernel.shape[0]

    @property
    def width(self) -> int:
        """Input channels."""
        return self.kernel.shape[1] * self.groups

    @property
    def weights(self) -> int:
        """Numbers in the kernel and the bias."""
        return self.kernel.numel() + (self.out if self.bias is not None else 0)

    def slide(self, grid: Extents) -> Extents:
        """The output's extents for an input of these extents."""
        sizes = zip(grid, self.extents, self.stride, self.padding, strict=True)
        return tuple((g + 2 * p - e) // s + 1 for g, e, s, p in sizes)


def channelwise(factor: Tensor, bias: Tensor | None = None, rank: int = 0) -> Affine:
    """Multiplies each channel by a factor ``(c,)`` and adds a bias ``(c,)``."""
    c = factor.shape[0]
    return Affine(factor.view(c, 1, *[1] * rank), bias, (1,) * rank, (0,) * rank, c)


def identity(c: int, like: Tensor, rank: int = 0) -> Affine:
    """The identity on ``c`` channels, with the dtype and device of ``like``."""
    return channelwise(torch.ones(c, dtype=like.dtype, device=like.device), None, rank)


def convolution(
    weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> Affine:
    """A convolution; dilation becomes zeros in the kernel."""
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    kernel = weight.new_zeros(*weight.shape[:2], *extents)
    if not kernel.is_meta:
        kernel[_at(slice(None, None, d) for d in dilation)] = weight
    return Affine(kernel, bias, tuple(stride), tuple(padding), groups)


def linear(weight: Tensor, bias: Tensor | None) -> Affine:
    """A linear layer over the channels."""
    return Affine(weight, bias, (), (), 1)


def then(first: Affine, second: Affine) -> Affine | None:
    """``second`` after ``first`` as one map; None where that is not exact.

    If ``second`` pads, it sees zeros where ``first`` would have computed values beyond its own output. Along an axis those
    values are zero only if ``first`` has extent one and no padding there, and no bias at all.

    >>> scale = channelwise(torch.tensor([2.0, 3.0]))
    >>> then(scale, scale).kernel.flatten()
    tensor([4., 9.])
    """
    first, second = _ranked(first, second)
    if any(p and (e > 1 or q) for p, e, q in zip(second.padding, first.extents, first.padding, strict=True)):
        return None
    if first.bias is not None and any(second.padding):
        return None
    groups = gcd(first.groups, second.groups)
    a, b = _apart(first, groups), _apart(second, groups)
    steps = first.stride
    extents = [e + s * (f - 1) for e, s, f in zip(first.extents, steps, second.extents, strict=True)]
    kernel = a.new_zeros(groups, b.shape[1], a.shape[2], *extents)
    for offset in product(*map(range, second.extents)) if not kernel.is_meta else ():
        place = _at(slice(s * o, s * o + e) for s, o, e in zip(steps, offset, first.extents, strict=True))
        kernel[place] += torch.einsum("gom,gmi...->goi...", b[_at(offset)], a)
    bias = second.bias if not kernel.is_meta or first.bias is None else first.bias.new_empty(second.out)
    if first.bias is not None and not kernel.is_meta:
        summed = b.flatten(3).sum(-1) if first.rank else b
        through = torch.einsum("gom,gm->go", summed, first.bias.view(groups, -1)).flatten()
        bias = through if bias is None else through + bias
    return Affine(
        kernel.flatten(0, 1),
        bias,
        tuple(s * t for s, t in zip(steps, second.stride, strict=True)),
        tuple(p + s * q for p, s, q in zip(first.padding, steps, second.padding, strict=True)),
        groups,
    )


def plus(a: Affine, b: Affine, sign: int = 1) -> Affine | None:
    """The sum of two maps of the same input (``sign=-1``: the difference); None if their outputs differ in shape or stride.

    >>> a, b = channelwise(torch.tensor([2.0])), channelwise(torch.tensor([5.0]))
    >>> plus(a, b, -1).kernel.flatten()
    tensor([-3.])
    """
    a, b = _ranked(a, b)
    if a.stride != b.stride or a.out != b.out or a.width != b.width:
        return None
    groups = gcd(a.groups, b.groups)
    padding = tuple(map(max, a.padding, b.padding))
    offsets = [[p - q for p, q in zip(padding, part.padding, strict=True)] for part in (a, b)]
    extents = [max(o + e for o, e in zip(axis[::2], axis[1::2], strict=True)) for axis in _axes(offsets, a, b)]
    kernel = a.kernel.new_zeros(a.out, a.width // groups, *extents)
    for part, starts, factor in zip((a, b), offsets, (1, sign), strict=True) if not kernel.is_meta else ():
        place = _at(slice(o, o + e) for o, e in zip(starts, part.extents, strict=True))
        kernel[place] += factor * _apart(part, groups).flatten(0, 1)
    bias = a.bias
    if b.bias is not None and kernel.is_meta:
        bias = b.bias
    elif b.bias is not None:
        bias = sign * b.bias if bias is None else bias + sign * b.bias
    return Affine(kernel, bias, a.stride, padding, groups)


def _at(slices: Iterable[slice | int]) -> Any:
    """An index into the last axes."""
    return (..., *slices)


def _axes(offsets: list[list[int]], a: Affine, b: Affine) -> list[tuple[int, int, int, int]]:
    return list(zip(offsets[0], a.extents, offsets[1], b.extents, strict=True))


def _ranked(a: Affine, b: Affine) -> tuple[Affine, Affine]:
    """Both maps with the rank of the higher one: a linear layer (rank 0) works on any map."""
    rank = max(a.rank, b.rank)
    return _of_rank(a, rank), _of_rank(b, rank)


def _of_rank(a: Affine, rank: int) -> Affine:
    if a.rank == rank:
        return a
    assert a.rank == 0
    return replace(a, kernel=a.kernel.view(*a.kernel.shape, *[1] * rank), stride=(1,) * rank, padding=(0,) * rank)


def _apart(a: Affine, groups: int) -> Tensor:
    """The kernel as ``(groups, out, in, *extents)``, for a divisor of its own groups; zeros fill the blocks between groups."""
    out, inner = a.out // a.groups, a.kernel.shape[1]
    own = a.kernel.view(a.groups, out, inner, *a.extents)
    if groups == a.groups:
        return own
    ratio = a.groups // groups
    wide = own.new_zeros(groups, ratio, out, ratio, inner, *a.extents)
    own = own.view(groups, ratio, out, inner, *a.extents)
    for i in range(ratio) if not own.is_meta else ():
        wide[:, i, :, i] = own[:, i]
    return wide.view(groups, ratio * out, ratio * inner, *a.extents)
