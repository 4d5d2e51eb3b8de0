"""All that is wrong with a spec file, found without building it. Torch is needed for shapes only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..catalogue.lookup import open_spec, parse_spec
from ..errors import Problem, SpecError
from ..language.check import check_names
from ..language.load import load_file
from ..language.spec import Spec
from ..language.yaml import Limits

if TYPE_CHECKING:
    from .models import FileReport

STDIN = "-"


def check(source: str, *, shapes: bool = True) -> tuple[Problem, ...]:
    """The problems of a file, or of standard input (``-``), in order of place; empty when all is well."""
    try:
        spec = read_stdin() if source == STDIN else load_file(source)
    except SpecError as wrong:
        return wrong.problems
    if not shapes:
        return SpecError(check_names(spec)).problems
    from .. import api

    return tuple(api.check(spec))


def file_report(source: str, problems: tuple[Problem, ...]) -> FileReport:
    """The same for machines."""
    from .models import FileReport, ProblemReport

    found = tuple(ProblemReport.model_validate(problem.as_dict()) for problem in problems)
    return FileReport(file=shown(source), problems=found)


def shown(source: str) -> str:
    """What messages call a source."""
    return "<stdin>" if source == STDIN else source


def read_stdin() -> Spec:
    """The spec on standard input. Raises SpecError."""
    return parse_spec(read_text(), shown(STDIN))


def read_text() -> str:
    """The text on standard input, no more of it than a spec may have. Raises SpecError."""
    try:
        return sys.stdin.buffer.read(Limits().size + 1).decode()
    except UnicodeDecodeError:
        raise SpecError([Problem("the text on standard input is not UTF-8", hint="save it as UTF-8")]) from None


def checked_spec(source: str) -> tuple[Spec, str | None]:
    """A spec by catalogue name, path or ``-``, and the variant that the name means; its names are right.

    Raises MetablockError.
    """
    spec, variant = (read_stdin(), None) if source == STDIN else open_spec(source)
    problems = check_names(spec)
    if problems:
        raise SpecError(problems)
    return spec, variant
