"""The budget for reading a stranger's text: how much work an expression, a file, a network may ask for.

Work is counted in steps, never by a clock, so that a text has the same result on every machine. A step is about three
microseconds: a value that is computed, a few entries of a list that are made. Whoever works on a text opens a budget with
:func:`reading`; what is called inside shares it, wherever it stands, by :func:`spend`.

A budget that is used up raises :class:`ExhaustedError`, which is no SpecError: code that collects problems and goes on cannot
swallow it. The block that opened the budget turns it into a SpecError with a place.

>>> with reading(100):
...     spend(90)
...     spend(20)
Traceback (most recent call last):
    ...
metablock.errors.SpecError: this takes more than 100 steps to read
  let it repeat, list and nest less; large=True (`--large`) lifts the limit
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..errors import Span, error

# Of one network: about a second. The largest network that ships needs a third of it.
NETWORK = 200_000
# Of one file with all its variants, which `check` reads one after the other.
FILE = 4 * NETWORK
# What `large=True` multiplies a budget by: large, but not without end.
LARGE = 100


class ExhaustedError(Exception):
    """A budget is used up. ``span``: the place of the work that it does not cover."""

    def __init__(self, span: Span | None):
        super().__init__("the budget is used up")
        self.span = span


class Budget:
    """A number of steps that may still be spent.

    Attributes:
        steps: what it began with.
        left: what is left of it.

    >>> budget = Budget(10)
    >>> budget.spend(4)
    >>> budget.left
    6
    """

    __slots__ = ("left", "steps")

    def __init__(self, steps: int):
        self.steps = self.left = steps

    def spend(self, steps: int = 1, span: Span | None = None) -> None:
        """Takes steps from the budget. Raises ExhaustedError, at ``span``, where fewer are left."""
        self.left -= steps
        if self.left < 0:
            raise ExhaustedError(span)


_open: ContextVar[Budget | None] = ContextVar("budget", default=None)


def current() -> Budget:
    """The open budget; a new one, of a network, where none is open.

    >>> with reading(50):
    ...     current().left
    50
    """
    return _open.get() or Budget(NETWORK)


def spend(steps: int = 1, span: Span | None = None) -> None:
    """Takes steps from the open budget; without one, nothing happens. Raises ExhaustedError where fewer are left.

    >>> with reading(50):
    ...     spend(20)
    ...     current().left
    30
    """
    budget = _open.get()
    if budget is not None:
        budget.spend(steps, span)


@contextmanager
def reading(steps: int, span: Span | None = None) -> Iterator[Budget]:
    """Opens a budget for the `with` block, within the one that is open around it.

    Args:
        steps: what the block may spend.
        span: the place of the message where the work itself has none.

    Raises:
        SpecError: the block asks for more steps.

    >>> with reading(100) as outer:
    ...     with reading(30) as inner:
    ...         spend(25)
    >>> inner.left, outer.left
    (5, 75)
    """
    around = _open.get()
    budget = Budget(steps if around is None else max(0, min(steps, around.left)))
    token = _open.set(budget)
    try:
        yield budget
    except ExhaustedError as wrong:
        message = f"this takes more than {steps:,} steps to read"
        hint = "let it repeat, list and nest less; large=True (`--large`) lifts the limit"
        elsewhere = wrong.span is None or (span is not None and wrong.span.text.name != span.text.name)
        raise error(message, span if elsewhere else wrong.span, hint) from None
    except RecursionError:
        raise error("this is nested too deeply", span, "let bindings use each other in fewer steps") from None
    finally:
        _open.reset(token)
        if around is not None:
            around.left -= budget.steps - max(0, budget.left)
