"""What is known of ``conv_transpose`` without torch."""

from __future__ import annotations

import math

from ...errors import error
from ...shape import Feature
from ..extents import Extent, expand
from . import LeafRule, TensorShapes, weight_and_bias


class ConvTransposeRule(LeafRule):
    """The rule of :class:`metablock.operators.conv_transpose.ConvTranspose`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, out: int, kernel: Extent, stride: Extent, padding: Extent | None, groups: int) -> Feature:
        if groups < 1 or x.c % groups or out % groups:
            raise error(f"{groups} groups do not divide {x.c} channels in and {out} out", hint="`groups=` divides both widths")
        kernels, strides = expand(kernel, x.rank), expand(stride, x.rank)
        if min(*kernels, *strides) < 1:
            raise error("kernel and stride are at least 1", hint="`1` leaves the extents as they are")
        pads, extra = cut(padding, kernels, strides)
        for k, s, e in zip(kernels, strides, extra, strict=True):
            if e >= s:
                raise error(f"a kernel of {k} with stride {s} has no centre", hint="give the padding: what is cut off each side")
        sizes = zip(x.grid, kernels, strides, pads, extra, strict=True)
        grid = tuple((g - 1) * s + k - 2 * p + e for g, k, s, p, e in sizes)
        if min(grid) < 1 or min(pads) < 0:
            text = f"a padding of {'x'.join(map(str, pads))} does not fit a kernel of {'x'.join(map(str, kernels))}"
            raise error(text, hint="less padding, or a larger kernel")
        return x.with_(c=out, grid=grid)

    @staticmethod
    def tensors(c: int, rank: int, *, out: int, kernel: Extent, groups: int, bias: bool) -> TensorShapes:
        return weight_and_bias((c, out // groups, *expand(kernel, rank)), out, bias)


def cut(padding: Extent | None, kernel: tuple[int, ...], stride: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Torch's ``padding`` (cut off each side) and ``output_padding`` (put back at the end)."""
    if padding is not None:
        return expand(padding, len(kernel)), (0,) * len(kernel)
    pads = tuple(max(0, math.ceil((k - s) / 2)) for k, s in zip(kernel, stride, strict=True))
    return pads, tuple(2 * p - (k - s) for k, s, p in zip(kernel, stride, pads, strict=True))
