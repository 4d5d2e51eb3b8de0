"""Places of problems: one without a place, or with one in the standard library, gets the nearest place that a person wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..errors import Span, SpecError
from ..language.standard import LIBRARY


@contextmanager
def located(span: Span | None) -> Iterator[None]:
    """Gives this place to problems of the block that have none of their own, or one in the standard library."""
    try:
        yield
    except SpecError as wrong:
        if all(problem.span is not None and not in_library(problem.span) for problem in wrong.problems):
            raise
        raise SpecError(replace(problem, span=_nearer(problem.span, span)) for problem in wrong.problems) from None


def in_library(span: Span | None) -> bool:
    """Whether this is a place in the standard library."""
    return span is not None and span.text.name == LIBRARY


def _nearer(own: Span | None, span: Span | None) -> Span | None:
    if own is None:
        return span
    return span if span is not None and in_library(own) and not in_library(span) else own
