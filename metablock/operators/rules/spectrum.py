"""What is known of ``spectrum`` without torch."""

from __future__ import annotations

from ...errors import error
from ...shape import Feature
from . import LeafRule

_NORMS = ("backward", "ortho", "forward")


class RfftRule(LeafRule):
    """The rule of :class:`metablock.operators.spectrum.Rfft`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, norm: str) -> Feature:
        _check_norm(norm)
        return x.with_(c=2 * x.c, grid=(*x.grid[:-1], x.grid[-1] // 2 + 1))


class IrfftRule(LeafRule):
    """The rule of :class:`metablock.operators.spectrum.Irfft`."""

    takes = ("map",)

    @staticmethod
    def shape(x: Feature, *, n: int, norm: str) -> Feature:
        _check_norm(norm)
        if x.c % 2:
            raise error(f"{x.c} channels for `irfft`", hint="real parts, then as many imaginary parts, as `rfft` gives them")
        if n < 1 or n // 2 + 1 != x.grid[-1]:
            last = x.grid[-1]
            fits = "1" if last == 1 else f"{2 * last - 2} or {2 * last - 1}"
            raise error(f"{last} frequencies for an extent of {n}", hint=f"they are those of {fits} positions")
        return x.with_(c=x.c // 2, grid=(*x.grid[:-1], n))


def _check_norm(norm: str) -> None:
    """Raises SpecError for an unknown word."""
    if norm not in _NORMS:
        raise error(f'unknown norm "{norm}"', hint=" or ".join(f'"{word}"' for word in _NORMS))
