"""Every problem of a spec file, found without building it. Only shapes need torch."""

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
    """The problems of a spec file, in order of place.

    Args:
        source: a path, or ``-`` for standard input.
        shapes: whether the shapes of every variant are inferred too, which imports torch.

    Returns:
        The problems, those of an unreadable file included; empty where there is none.

    >>> [problem.message for problem in check("nowhere.yaml")]
    ["there is no file 'nowhere.yaml'"]
    """
    try:
        spec = read_stdin() if source == STDIN else load_file(source)
    except SpecError as wrong:
        return wrong.problems
    return problems_of(spec, shapes=shapes)


def problems_of(spec: Spec, *, shapes: bool = True) -> tuple[Problem, ...]:
    """The problems of a file's spec: names, then the shapes and the size of every variant's network.

    >>> from metablock.language.load import load_text
    >>> spec = load_text("name: n\\ninput: image(3, 8)\\nmodel: conv(400000) >> conv(400000)\\n")
    >>> [problem.message for problem in problems_of(spec)]
    ['the network has 160,002,000,000 parameters; at most 20,000,000,000']
    """
    if not shapes:
        return SpecError(check_names(spec)).problems
    from ..backend.limits import check_size
    from ..front import check as check_spec

    return tuple(check_spec(spec, size=check_size))


def file_report(source: str, problems: tuple[Problem, ...]) -> FileReport:
    """The problems of a file as ``check --json`` prints them.

    >>> file_report("nowhere.yaml", check("nowhere.yaml")).problems[0].message
    "there is no file 'nowhere.yaml'"
    """
    from .models import FileReport, ProblemReport

    reports = tuple(ProblemReport.model_validate(problem.as_dict()) for problem in problems)
    return FileReport(file=shown(source), problems=reports)


def shown(source: str) -> str:
    """The name of a source in messages.

    >>> shown("-"), shown("net.yaml")
    ('<stdin>', 'net.yaml')
    """
    return "<stdin>" if source == STDIN else source


def read_stdin() -> Spec:
    """The spec on standard input. Raises SpecError."""
    return load_text(read_text(), shown(STDIN))


def read_text() -> str:
    """The text on standard input, cut behind the largest size of a spec. Raises SpecError where it is not UTF-8."""
    try:
        return sys.stdin.buffer.read(Limits().size + 1).decode()
    except UnicodeDecodeError:
        raise SpecError([Problem("the text on standard input is not UTF-8", hint="save it as UTF-8")]) from None


def named_source(source: str) -> str | Spec:
    """A source as :func:`metablock.front.front` takes it: ``-`` becomes the spec on standard input.

    Raises:
        SpecError: the text on standard input is no spec.

    >>> named_source("swin_tiny")
    'swin_tiny'
    """
    return read_stdin() if source == STDIN else source
