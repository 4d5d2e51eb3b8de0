"""How numbers in their names follow from numbers in ours: ``i + 1``, ``2 * i``, ``layer(i, j)``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

Row = tuple[int, ...]
_LARGEST = 6  # factor that is tried


def layer(blocks: Sequence[int], stage: int, block: int) -> int:
    """The number of a block counted from the network's first."""
    return sum(blocks[:stage]) + block


def follows(
    ours: Sequence[Row], theirs: Sequence[int], letters: Sequence[str], blocks: Sequence[int], pair: tuple[int, int] | None
) -> str | None:
    """An expression in our numbers that gives theirs in every row, the simplest that is tried; None if none does.

    Args:
        ours: a row of numbers for each name.
        theirs: the number there, a row each.
        letters: what our numbers are called; "" for those that do not vary.
        blocks: the number of blocks of each stage.
        pair: which of our numbers are stage and block.

    >>> follows([(0,), (1,), (2,)], [1, 3, 5], ["i"], [], None)
    '2 * i + 1'
    >>> follows([(0, 0), (0, 1), (1, 0)], [4, 5, 6], ["i", "j"], [2, 1], (0, 1))
    'layer(i, j) + 4'
    """
    if len(set(theirs)) == 1:
        return str(theirs[0])
    columns = [(letter, [row[at] for row in ours]) for at, letter in enumerate(letters) if letter]
    if pair is not None and all(letters[at] for at in pair):
        stage, block = pair
        if all(row[stage] < len(blocks) for row in ours):
            counted = [layer(blocks, row[stage], row[block]) for row in ours]
            columns.append((f"layer({letters[stage]}, {letters[block]})", counted))
    for factor in range(1, _LARGEST + 1):
        for text, values in columns:
            rest = {there - factor * value for there, value in zip(theirs, values, strict=True)}
            if len(rest) == 1:
                return _plus(f"{factor} * {text}" if factor > 1 else text, rest.pop())
    for text, values in columns:
        rest = {there + value for there, value in zip(theirs, values, strict=True)}
        if len(rest) == 1:
            return f"{rest.pop()} - {text}"
    for a, b in sorted(product(range(1, _LARGEST + 1), repeat=2), key=sum):
        for (one, first), (two, second) in combinations(reversed(columns), 2):
            rest = {there - a * u - b * v for there, u, v in zip(theirs, first, second, strict=True)}
            if len(rest) == 1:
                terms = [f"{n} * {name}" if n > 1 else name for n, name in ((a, one), (b, two))]
                return _plus(" + ".join(terms), rest.pop())
    return None


def _plus(text: str, number: int) -> str:
    return text if not number else f"{text} + {number}" if number > 0 else f"{text} - {-number}"
