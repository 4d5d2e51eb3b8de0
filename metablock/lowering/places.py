"""Places of problems: a problem without a place, or with one in the standard library, gets the nearest place in the spec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..errors import Span, SpecError
from ..language.budget import ExhaustedError
from ..language.standard import LIBRARY


@contextmanager
def located(span: Span | None) -> Iterator[None]:
    """Gives a place to the problems of the `with` block that have none, or one in the standard library.

    Raises:
        SpecError: what the block raises, with the places filled in.

    >>> from metablock.errors import Text, error
    >>> with located(Span(Text("net.yaml", "head: conv(0)"), 6, 13)):
    ...     raise error("nothing is left")
    Traceback (most recent call last):
        ...
    metablock.errors.SpecError: net.yaml:1:7: nothing is left
        head: conv(0)
              ^^^^^^^
    """
    try:
        yield
    except ExhaustedError as wrong:
        wrong.span = _nearer(wrong.span, span)
        raise
    except SpecError as wrong:
        if all(problem.span is not None and not in_library(problem.span) for problem in wrong.problems):
            raise
        raise SpecError(replace(problem, span=_nearer(problem.span, span)) for problem in wrong.problems) from None


def in_library(span: Span | None) -> bool:
    """Whether a place lies in the standard library."""
    return span is not None and span.text.name == LIBRARY


def _nearer(own: Span | None, span: Span | None) -> Span | None:
    """``span``, if a problem at ``own`` has no place in the spec; else ``own``."""
    if own is None:
        return span
    return span if span is not None and in_library(own) and not in_library(span) else own
