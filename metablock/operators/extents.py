"""Integer rules shared by sliding operators (convolution, pooling, unfolding)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import AxesError, error

Extent = int | Sequence[int]
# What coordinates count on an axis of n positions: 0 ... n - 1; 0 ... 1 or -1 ... 1 from the first to the last; the same from
# edge to edge of the cells around them.
KINDS = ("index", "unit", "signed", "centers", "signed_centers")
SMALLER = "a larger input, a smaller kernel, more padding or fewer strides"


def expand(value: Extent, rank: int) -> tuple[int, ...]:
    """``value`` as one number per axis. Raises SpecError for a sequence of another length."""
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank:
        raise AxesError(f"{len(values)} numbers for {rank} spatial dimensions", "one number, or one per axis")
    return values


def sides(padding: Extent | None, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Padding per side; by default ``ceil((k - s) / 2)``, ``k`` the dilated extent."""
    if padding is not None:
        return expand(padding, len(kernel))
    return tuple(max(0, math.ceil((d * (k - 1) + 1 - s) / 2)) for k, s, d in zip(kernel, stride, dilation, strict=True))


def same_sides(
    padding: Extent | str | None, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[bool, tuple[int, ...]]:
    """Whether the padding depends on the size of the input (``"same"`` may); and the padding per side, zeros if it does."""
    if padding != "same":
        return False, (0,) * len(kernel) if isinstance(padding, str) else sides(padding, kernel, stride, dilation)
    if all(s == 1 and d * (k - 1) % 2 == 0 for k, s, d in zip(kernel, stride, dilation, strict=True)):
        return False, sides(None, kernel, stride, dilation)
    return True, (0,) * len(kernel)


def slide(
    grid: tuple[int, ...],
    kernel: Extent,
    stride: Extent,
    padding: Extent | str | None = None,
    dilation: Extent = 1,
) -> tuple[int, ...]:
    """The output grid of a window sliding over ``grid``. Raises SpecError if the window does not fit.

    Example:
        >>> slide((224, 224), kernel=7, stride=4)
        (56, 56)
    """
    rank = len(grid)
    kernels, strides, dilations = expand(kernel, rank), expand(stride, rank), expand(dilation, rank)
    if min((*kernels, *strides, *dilations), default=1) < 1:
        raise error("kernel, stride and dilation are at least 1", hint="`1` leaves the extents as they are")
    if isinstance(padding, str):
        if padding != "same":
            raise error(f"unknown padding '{padding}'", hint='a number of zeros per side, or "same"')
        return tuple(math.ceil(size / s) for size, s in zip(grid, strides, strict=True))
    pads = sides(padding, kernels, strides, dilations)
    if min(pads, default=0) < 0:
        raise error("padding is at least 0", hint="`0` adds nothing")
    result = tuple(
        (g + 2 * p - d * (k - 1) - 1) // s + 1 for g, k, s, p, d in zip(grid, kernels, strides, pads, dilations, strict=True)
    )
    if min(result, default=1) < 1:
        raise error(f"a window of {'x'.join(map(str, kernels))} does not fit a grid of {'x'.join(map(str, grid))}", hint=SMALLER)
    return result


def half_steps(n: int, m: int) -> list[int]:
    """Twice the distance from each of ``n`` positions of an axis to each of the ``m`` bins that adaptive pooling makes of them.

    A bin stands at the mean of its positions, so these are whole numbers: position by position, and for each bin by bin.
    """
    middles = [i * n // m - (-(i + 1) * n // m) - 1 for i in range(m)]  # twice the mean of the first and the last place
    return [2 * place - middle for place in range(n) for middle in middles]
