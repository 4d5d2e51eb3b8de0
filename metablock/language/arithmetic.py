"""Arithmetic of the language: numbers, lists of numbers, comparisons, numeric functions. One place for specs and their rules."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, TypeGuard

# Larger results are refused: no size of a network is near, and exact integers could grow without bound.
MAX_NUMBER = 1e18
MAX_EXPONENT = 64
MAX_LIST = 10_000

_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def is_real(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number (truth values count as 0 and 1).

    >>> is_real(0.5), is_real("0.5")
    (True, False)
    """
    return isinstance(value, (int, float))


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number of any kind, numpy's too; a truth value is none.

    >>> is_whole(3), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def calculate(op: str, left: Any, right: Any) -> Any:
    """``left op right`` for numbers; a list (extents) meets a number entry by entry.

    Raises:
        TypeError: words, two lists.
        ZeroDivisionError: a division by 0.
        OverflowError: a result above 1e18, an exponent above 64, a root of a negative number.

    >>> calculate("//", 7, 2), calculate("*", [2, 3], 4)
    (3, [8, 12])
    """
    if isinstance(left, str) or isinstance(right, str):
        raise TypeError
    if isinstance(left, list) and isinstance(right, list):
        raise TypeError
    if isinstance(left, list):
        return [calculate(op, item, right) for item in left]
    if isinstance(right, list):
        return [calculate(op, left, item) for item in right]
    if op == "**" and abs(right) > MAX_EXPONENT:
        raise OverflowError
    result = _BINARY[op](left, right)
    if isinstance(result, complex) or abs(result) > MAX_NUMBER:
        raise OverflowError
    return result


def compare(op: str, left: Any, right: Any) -> bool:
    """``left op right`` for numbers, words and lists. Raises TypeError for what has no order.

    >>> compare("<=", 2, 3), compare("==", "pad", "exact")
    (True, False)
    """
    return bool(_COMPARE[op](left, right))


def entries(value: Any, most: int) -> int:
    """The number of entries of a list, those of the lists in it included; counted no further than a little beyond ``most``.

    >>> entries([1, [2, 3]], 100), entries(5, 100)
    (4, 0)
    """
    count, todo = 0, [value]
    while todo and count <= most:
        value = todo.pop()
        if isinstance(value, (list, tuple)):
            count += len(value)
            todo += [item for item in value if isinstance(item, (list, tuple))]
    return count


def round8(value: float) -> int:
    """The nearest multiple of 8, at least 8 and never below 90 % of the value (MobileNet's rule).

    >>> round8(30), round8(3.2), round8(44.5)
    (32, 8, 48)
    """
    result = max(8, int(value + 4) // 8 * 8)
    return result + 8 if result < 0.9 * value else result


class TooLongError(ValueError):
    """A list would have more than :data:`MAX_LIST` entries; its text is their number."""


def _range(*bounds: int) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > MAX_LIST:
        raise TooLongError(str(len(numbers)))
    return list(numbers)


# The functions of the language on numbers and lists of numbers.
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "int": int,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": round,
    "min": min,
    "max": max,
    "round8": round8,
    "sum": sum,
    "len": len,
    "range": _range,
}
