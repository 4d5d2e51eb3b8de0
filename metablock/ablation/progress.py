"""How long steps report their progress."""

from __future__ import annotations

from collections.abc import Callable

# Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


def silent(text: str, done: int, total: int) -> None:
    """A :data:`Progress` that shows nothing.

    >>> silent("looking at pictures", 100, 5000)
    """
