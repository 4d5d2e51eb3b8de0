"""What the root of a network says about its training: its loss, its moving averages, where its inputs come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """The loss of a network, which is a child of its root that ``forward`` does not call.

    Attributes:
        child: the child's name.
        reads: what its ``forward`` takes, in order: ``("output", key)`` of the training outputs (None for all of them),
            ``("input", number)``, ``("data", name)``.
        terms: the names of what it returns.
    """

    child: str
    reads: tuple[tuple[str, str | int | None], ...]
    terms: tuple[str, ...]


@dataclass(frozen=True)
class Average:
    """A module whose weights are a moving average of another one's: ``m * own + (1 - m) * other``, once before each step.

    Attributes:
        own, other: the names that lead to the two from the root.
        start, end: ``m`` at the beginning and at the end of the training; a half cosine lies between.
    """

    own: tuple[str, ...]
    other: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True)
class InputOrigin:
    """Where an input of a training method comes from.

    Attributes:
        kind: ``view`` of an example; ``uniform``, ``normal``, ``blocks``: drawn; ``teacher``: what a teacher gives.
        word: of a view, the name of its augmentation; empty: the recipe's own.
        count: of ``blocks``, the number of places that are masked.
    """

    kind: str
    word: str = ""
    count: int = 0

    @property
    def drawn(self) -> bool:
        """Whether it is drawn where it is not given."""
        return self.kind in ("uniform", "normal", "blocks")
