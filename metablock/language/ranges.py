"""Which numbers an operator's argument takes, beyond its type: `eps` is no less than 0, whatever the operator.

What depends on shapes (heads that divide a width, a kernel that fits a grid) is checked where the shapes are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite

# The largest whole number and the largest other number: beyond them torch's sizes and float32 overflow.
MAX_WHOLE, MAX_REAL = 2**31 - 1, 1e30


@dataclass(frozen=True)
class Range:
    """The numbers from ``least`` to ``most``, without ``least`` itself where it is ``open``; ``tiny``: those nearer to 0 are not.

    >>> Range(0).wrong(-1.0), Range(0, 1).wrong(0.5), Range(0, open=True).wrong(0)
    ('write a number from 0', None, 'write a number above 0')
    """

    least: float = -inf
    most: float = inf
    open: bool = False
    tiny: float = 0.0

    def wrong(self, number: float) -> str | None:
        """What to write instead of a number that is not in the range; None for one that is."""
        most = min(self.most, MAX_WHOLE if isinstance(number, int) else MAX_REAL)
        if abs(number) < self.tiny:
            return f"write a number further from 0 than {self.tiny:g}"
        low = number <= self.least if self.open else number < self.least
        if not low and -MAX_REAL <= number <= most and isfinite(number):
            return None
        if isfinite(self.least):
            return f"write a number {'above' if self.open else 'from'} {self.least:g}" + (
                f" to {most:g}" if self.most < inf else ""
            )
        return f"the largest number is {most:,}" if isinstance(number, int) else f"the largest number is {most:g}"

    @property
    def text(self) -> str | None:
        """The range in words, None where any number is in it.

        >>> Range(0).text, Range(0, 1).text, Range(0, open=True).text, Range(tiny=1e-30).text, Range().text
        ('from 0', 'from 0 to 1', 'above 0', 'not 0', None)
        """
        if isfinite(self.least):
            return f"{'above' if self.open else 'from'} {self.least:g}" + (f" to {self.most:g}" if self.most < inf else "")
        return f"to {self.most:g}" if self.most < inf else "not 0" if self.tiny else None


_ANY = Range()
# By the argument's name in any operator; by `operator.argument` where one operator differs.
_RANGES: Mapping[str, Range] = {
    "eps": Range(0),
    "batch_norm.eps": Range(0, open=True),
    "momentum": Range(0, 1),
    "rate": Range(0),
    "dropout.rate": Range(0, 1),
    "drop": Range(0, 1),
    "noise": Range(0),
    "std": Range(0),
    "crop.start": Range(0),
    "sine.start": Range(0),
    "sine.temperature": Range(1),
    "temperature": Range(tiny=1e-30),
    "theta": Range(1),
    "resolution": Range(2),
    "softmax.start": Range(tiny=1e-30),
    "table": Range(1),
}


def range_of(operator: str, argument: str) -> Range:
    """The numbers that an argument of an operator takes.

    >>> range_of("layer_norm", "eps").least, range_of("batch_norm", "eps").open
    (0, True)
    """
    return _RANGES.get(f"{operator}.{argument}") or _RANGES.get(argument) or _ANY
