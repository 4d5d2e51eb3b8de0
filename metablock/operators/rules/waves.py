"""What is known of ``waves`` without torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from ...errors import error, suggest
from ...shape import Feature
from ..extents import KINDS
from . import LeafRule

ORDERS = tuple(" ".join(order) for order in permutations(("axis", "wave", "band")))


SPACINGS = ("linear", "log")


class CoordinatesRule(LeafRule):
    """The rule of :class:`metablock.operators.waves.Coordinates`."""

    takes = ("grid",)

    @staticmethod
    def shape(x: Feature, *, kind: str) -> Feature:
        check_word("kind", kind, KINDS)
        return x.with_(c=x.rank)


class SineRule(LeafRule):
    """The rule of :class:`metablock.operators.waves.Sine`."""

    takes = ("grid",)

    @staticmethod
    def shape(x: Feature, *, out: int, order: str) -> Feature:
        check_word("order", order, ORDERS)
        check_width("sine", out, 2 * x.rank)
        return x.with_(c=out)


class FourierRule(LeafRule):
    """The rule of :class:`metablock.operators.waves.Fourier`."""

    takes = ("grid",)

    @staticmethod
    def shape(x: Feature, *, out: int, order: str, spacing: str) -> Feature:
        check_word("order", order, ORDERS)
        check_word("spacing", spacing, SPACINGS)
        check_width("fourier", out, 2 * x.rank)
        return x.with_(c=out)


class AxialRule(LeafRule):
    """The rule of :class:`metablock.operators.waves.Axial`."""

    takes = ("grid",)

    @staticmethod
    def shape(x: Feature, *, out: int, kind: str, extent: int | list[int] | None) -> Feature:
        check_word("kind", kind, KINDS)
        if extent is not None:
            listed = [extent] if isinstance(extent, int) else extent
            if kind != "index":
                raise error(f'`extent=` stretches indices, not "{kind}"', hint="leave one of the two out")
            if min(listed, default=0) < 1 or (isinstance(extent, list) and len(extent) != x.rank):
                raise error(f"an extent of {extent} on {x.rank} axes", hint="one number from 1, or one an axis")
        return x.with_(c=out)


def check_word(name: str, word: str, known: Sequence[str]) -> None:
    """Raises SpecError for a word that an argument does not take."""
    if word not in known:
        options = ", ".join(f'"{option}"' for option in known)
        raise error(f'unknown {name} "{word}"', hint=suggest(word, known, f"known: {options}"))


def check_width(name: str, out: int, divisor: int) -> None:
    """Raises SpecError for a number of channels that sines and cosines of all axes cannot share evenly."""
    if out < 1 or out % divisor:
        below = max(divisor, out // divisor * divisor)
        hint = f"a multiple of {divisor}: a sine and a cosine an axis; `{name}({below}) >> linear({max(out, 1)})` has any width"
        raise error(f"`{name}` of {out} channels", hint=hint)
