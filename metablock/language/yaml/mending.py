"""Reads on behind a mistake of YAML's: the entry with the mistake is left out, and all else is read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import Problem, Span, SpecError, Text
from .composer import Composer, YamlSyntaxError
from .nodes import Limits, Mapping

# A line that begins an entry: `key: value`, perhaps behind dashes.
_ENTRY = re.compile(r"""[ ]*(?:- +)*(?:"[^"\n]*"|'[^'\n]*'|[^\s#:"'\[\]{},-][^:#\n]*?)[ ]*:(?=\s|$)""")


@dataclass(frozen=True)
class Reading:
    """What could be read of a text: the mapping, the problems, and the places that were left out."""

    root: Mapping
    problems: tuple[Problem, ...]
    unread: tuple[Span, ...] = ()


def compose(text: Text, limits: Limits) -> Reading:
    """Reads a text. Where YAML cannot be read on, the value, the line, or the entry around the mistake becomes blank.

    Raises:
        SpecError: there is no mapping to read, or one that is too large; with every problem that was met.
    """
    content, stops, unread = text.content, list[Problem](), list[Span]()
    level, letters = 0, 0
    while True:
        try:
            root, problems, places = Composer(text, limits, content).run()
            return Reading(root, (*stops, *problems), (*unread, *places))
        except YamlSyntaxError as wrong:
            place = wrong.stop.span
            assert place is not None
            if not unread or place.start >= unread[-1].end:
                stops.append(wrong.stop)
                level, start = 0, place.start
            else:  # what was left out did not end the mistake
                level, start = level + 1, (stops[-1].span or place).start
            letters += len(content)
            span = _around(text, start, level)
            if span is None or letters > limits.size or len(stops) >= limits.problems:
                raise SpecError([*stops, *wrong.problems] if not level else [*stops, *_others(wrong)]) from None
            unread.append(span)
            content = content[: span.start] + re.sub(r"[^\n]", " ", span.content) + content[span.end :]
        except SpecError as wrong:
            behind = unread[-1].end if unread else 0
            later = [problem for problem in wrong.problems if problem.span is None or problem.span.start >= behind]
            raise SpecError([*stops, *later]) from None


def _others(wrong: YamlSyntaxError) -> list[Problem]:
    return [problem for problem in wrong.problems if problem is not wrong.stop]


def _around(text: Text, place: int, level: int) -> Span | None:
    """What to leave out for a mistake: the value of its line (level 0), the whole line (1), the value of the entry around it (2),
    of the one around that (3), and so on, each with the lines below that belong to it. None: there is no more."""
    lines = text.content.split("\n")
    number = text.place(place)[0] - 1
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    for _ in range(level - 1):
        above = _indent(lines[number])
        outer = (n for n in range(number - 1, -1, -1) if lines[n].strip() and _indent(lines[n]) < above)
        parent = next(outer, None)
        if parent is None:
            return None
        number = parent
    own, end = _indent(lines[number]), number + 1
    while end < len(lines) and _belongs(lines[end], own, "-" in lines[number][: own + 1]):
        end += 1
    while end > number + 1 and not lines[end - 1].strip():
        end -= 1
    entry = _ENTRY.match(lines[number])
    start = starts[number]
    if entry and level != 1 and (level or place >= start + entry.end()):
        start += entry.end()
    return Span(text, start, starts[end] - 1)


def _belongs(line: str, indent: int, item: bool) -> bool:
    """Whether a line belongs to the entry above it, which is indented so far, and may be an item of a list."""
    own = _indent(line)
    if own <= indent and not _ENTRY.match(line) and line[own : own + 1] not in ("", "-", "]", "}"):
        return True  # of an entry that is not ended: an open quote, a bracket
    return not line.strip() or own > indent or (own == indent and line[own] in ("]}" if item else "]}-"))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
