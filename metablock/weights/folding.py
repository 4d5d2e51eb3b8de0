"""Many names in few lines: ``stages.{0-3}.blocks.{0-1}.norm.weight`` stands for eight."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import prod

_NUMBER = re.compile(r"(?<=\.)\d+(?=[.,) ]|$)|^\d+(?=\.|$)")  # a number between dots
Row = tuple[int, ...]


def fold(names: Iterable[str]) -> list[str]:
    """The names, those that differ by numbers between dots folded, in the order of their first ones.

    >>> fold(f"a.{i}.w ({i + 1})" for i in range(3)), fold(f"a.{i}.w (x.{i + 1})" for i in range(3))
    (['a.0.w (1)', 'a.1.w (2)', 'a.2.w (3)'], ['a.{0-2}.w (x.{1-3})'])
    >>> fold(["a.0.w", "a.1.w", "b", "a.3.w", "c.0.x.0", "c.0.x.1", "c.1.x.0"])
    ['a.{0-1,3}.w', 'b', 'c.0.x.{0-1}', 'c.1.x.0']
    """
    forms: dict[str, list[Row]] = {}
    for name in names:
        forms.setdefault(_NUMBER.sub("\0", name), []).append(tuple(map(int, _NUMBER.findall(name))))
    return [_fill(form, numbers) for form, rows in forms.items() for numbers in _related(rows)]


def _related(rows: Sequence[Row]) -> list[list[list[int]]]:
    """As :func:`boxes`, but a place that differs from an earlier one by the same number in all rows goes with it."""
    columns = list(zip(*rows, strict=True))
    leaders: list[int] = []
    follows: list[tuple[int, int]] = []  # for each place the leader it follows, and by how much it is larger
    for at, column in enumerate(columns):
        for index, leader in enumerate(leaders):
            differences = {a - b for a, b in zip(column, columns[leader], strict=True)}
            if len(differences) == 1 and len(set(column)) > 1:
                follows.append((index, differences.pop()))
                break
        else:
            follows.append((len(leaders), 0))
            leaders.append(at)
    leading = boxes([tuple(row[at] for at in leaders) for row in rows])
    return [[[n + more for n in box[index]] for index, more in follows] for box in leading]


def boxes(rows: Sequence[Row]) -> list[list[list[int]]]:
    """Rows of numbers as few products of sets: for each product the numbers at each place, in order.

    >>> boxes([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)])
    [[[0, 1], [0, 1]], [[2], [0]]]
    """
    distinct = sorted(set(rows))
    if not distinct or not distinct[0]:
        return [[]]
    sets = [sorted(set(column)) for column in zip(*distinct, strict=True)]
    if prod(map(len, sets)) == len(distinct):
        return [sets]
    tails: dict[tuple[Row, ...], list[int]] = {}
    for first in sets[0]:
        tails.setdefault(tuple(row[1:] for row in distinct if row[0] == first), []).append(first)
    return [[firsts, *box] for tail, firsts in tails.items() for box in boxes(tail)]


def _fill(form: str, numbers: Sequence[Sequence[int]]) -> str:
    rest = iter(numbers)
    return re.sub("\0", lambda _: span(next(rest)), form)


def span(numbers: Sequence[int]) -> str:
    """Numbers in ascending order as text.

    >>> span([4]), span([0, 1, 2]), span([0, 1, 3])
    ('4', '{0-2}', '{0-1,3}')
    """
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "{" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) + "}"
