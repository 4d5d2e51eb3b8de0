"""All that is wrong with a spec file, found without building it. Torch is needed for shapes only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..errors import Problem, SpecError
from ..language.check import check_names
from ..language.load import load_file, load_text
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
    from ..front import check as check_spec

    return tuple(check_spec(spec))


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
    return load_text(read_text(), shown(STDIN))


def read_text() -> str:
    """The text on standard input, no more of it than a spec may have. Raises SpecError."""
    try:
        return sys.stdin.buffer.read(Limits().size + 1).decode()
    except UnicodeDecodeError:
        raise SpecError([Problem("the text on standard input is not UTF-8", hint="save it as UTF-8")]) from None


def named_source(source: str) -> str | Spec:
    """What a person called a source: a catalogue name or a path as it is, for ``-`` the spec on standard input.

    Raises SpecError.
    """
    return read_stdin() if source == STDIN else source
