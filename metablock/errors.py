"""Every message has one shape: a place, what is wrong, one hint.

A :class:`Text` is something a person wrote (a file, standard input, a ``--edit`` edit), a :class:`Span` a stretch of it. Whatever
code meets bad input raises :class:`SpecError` with one or more :class:`Problem`; only the outermost caller renders them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

# So many problems are shown; a text with more has one cause, or is no spec.
MAX_PROBLEMS = 100
# What a suggestion looks at: comparing words takes time.
MAX_WORD, MAX_OPTIONS = 60, 2000
# The longest line of a message.
MAX_LINE = 1_000


@dataclass(frozen=True, eq=False)
class Text:
    """A source text and the name that messages call it: a path, ``<stdin>``, ``--edit``.

    >>> text = Text("my.yaml", "name: net\\ninput: image(3, 32)\\n")
    >>> text.place(17), text.line(2)
    ((2, 8), 'input: image(3, 32)')
    """

    name: str
    content: str

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for offset, char in enumerate(self.content):
            if char == "\n":
                starts.append(offset + 1)
        return starts

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1."""
        offset = max(0, min(offset, len(self.content)))
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The line with this number (from 1), without its line break."""
        start = self._starts[number - 1]
        end = self.content.find("\n", start)
        return self.content[start : end if end >= 0 else len(self.content)].rstrip("\r")


@dataclass(frozen=True, eq=False)
class Span:
    """The half-open range of offsets ``[start, end)`` of a text.

    >>> span = Span(Text("--edit", "token = pool(3)"), 0, 5)
    >>> span.content, span.part(1, 3).content
    ('token', 'ok')
    """

    text: Text
    start: int
    end: int

    @property
    def content(self) -> str:
        """The text of the range."""
        return self.text.content[self.start : self.end]

    def part(self, start: int, end: int) -> Span:
        """A part of this span, by offsets relative to its start."""
        return Span(self.text, self.start + start, self.start + end)

    def to(self, other: Span) -> Span:
        """From the start of this span to the end of the other."""
        return Span(self.text, self.start, max(self.end, other.end))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, its place, and one hint.

    >>> value = Span(Text("my.yaml", "stem: conv(8)\\nhead: atention(4)\\n"), 20, 28)
    >>> print(Problem("unknown operator 'atention'", value, "did you mean 'attention'?").render())
    my.yaml:2:7: unknown operator 'atention'
        head: atention(4)
              ^^^^^^^^
      did you mean 'attention'?
    """

    message: str
    span: Span | None = field(default=None, compare=False)
    hint: str | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two reports of the same thing at the same place."""
        if self.span is None:
            return (self.message,)
        return (self.span.text.name, self.span.start, self.span.end, self.message)

    def render(self) -> str:
        """The text for a person: ``file:line:column: message``, the source line, carets below the place, the hint."""
        if self.span is None:
            lines = [self.message]
        else:
            text = self.span.text
            line, column = text.place(self.span.start)
            last, end = text.place(self.span.end)
            source = text.line(line)
            width = (end if last == line else len(source) + 1) - column
            lines = [f"{text.name}:{line}:{column}: {self.message}"]
            shown, margin, width = _shorten(source, column, max(1, width))
            lines += [f"    {shown}", f"    {margin}{'^' * width}"]
        if self.hint:
            lines.append(f"  {self.hint}")
        return fitted("\n".join(lines))

    def as_dict(self) -> dict[str, object]:
        """The problem as data for ``--json``: message, hint, file, and lines and columns counted from 1 (the end exclusive)."""
        result: dict[str, object] = {"message": fitted(self.message), "hint": fitted(self.hint) if self.hint else self.hint}
        if self.span is not None:
            line, column = self.span.text.place(self.span.start)
            last, end = self.span.text.place(self.span.end)
            result |= {"file": self.span.text.name, "line": line, "column": column, "end_line": last, "end_column": end}
        return result


def printable(text: str) -> str:
    """The text with what a terminal would obey (escapes, marks that turn the writing around) written out.

    >>> printable("unknown name '\\u202e\\x1b[31m'")
    "unknown name '\\\\u202e\\\\x1b[31m'"
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _BLANKS else char.encode("unicode_escape").decode() for char in text)


_BLANKS = "\n\t\xa0\u3000"


def fitted(text: str) -> str:
    """A message, printable, in which each line longer than :data:`MAX_LINE` lacks its middle: an expression, a name may be long.

    >>> len(fitted("`" + "a + " * 10_000 + "b` is no number")), fitted("a\\n" + "+" * 10_000 + "b` is no number")[-15:]
    (1000, 'b` is no number')
    """
    if len(text) > MAX_LINE:
        text = "\n".join(_without_middle(line) for line in text.split("\n"))
    return printable(text)


def _without_middle(line: str) -> str:
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE // 2 - 3]} ... {line[-(MAX_LINE // 2 - 2) :]}"


def _shorten(source: str, column: int, width: int, limit: int = 150) -> tuple[str, str, int]:
    """Cuts a source line longer than ``limit`` around the marked part. Returns the line, the caret's margin and its width."""
    start = max(0, column - 1 - limit // 3) if len(source) > limit else 0
    # The margin repeats the line's tabs, so that the caret stands below what it marks.
    margin = "".join(char if char == "\t" else " " for char in source[start : column - 1])
    if len(source) <= limit:
        return source, margin, width
    shown = source[start : start + limit]
    cut = ("... " if start else "") + shown + (" ..." if start + limit < len(source) else "")
    margin = " " * (4 if start else 0) + margin
    return cut, margin, max(1, min(width, limit - (column - 1 - start)))


class MetablockError(ValueError):
    """Bad input of any kind. Its text addresses the person who wrote the input; the command line prints it and exits with 2.

    Args:
        message: what is wrong: lower case, no full stop.
        hint: what to do instead, printed on an indented line of its own.

    >>> raise MetablockError("the step size is 0", "choose a number from 1")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: the step size is 0
      choose a number from 1
    """

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(fitted(message if hint is None else f"{message}\n  {hint}"))


class MetablockWarning(UserWarning):
    """What was done although it looks wrong. The command line prints it on standard error, and goes on."""


class SpecError(MetablockError):
    """One or more problems of a spec or an edit, each once, sorted by place; the first :data:`MAX_PROBLEMS` of them.

    >>> text = Text("--edit", "tokn = dw(3)")
    >>> wrong = SpecError([Problem("'tokn' names no slot", Span(text, 0, 4)), Problem("'tokn' names no slot", Span(text, 0, 4))])
    >>> print(wrong)
    --edit:1:1: 'tokn' names no slot
        tokn = dw(3)
        ^^^^
    """

    def __init__(self, problems: Iterable[Problem]):
        unique = {problem.key: problem for problem in problems}
        every = sorted(unique.values(), key=_order)
        self.problems: tuple[Problem, ...] = tuple(every[:MAX_PROBLEMS])
        more = [f"and {len(every) - MAX_PROBLEMS:,} more problems"] if len(every) > MAX_PROBLEMS else []
        super().__init__("\n".join([*(problem.render() for problem in self.problems), *more]))

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Problem, ...]]]:
        return SpecError, (self.problems,)


class AxesError(SpecError):
    """There are more or fewer numbers than what arrives has axes. It has no place yet."""

    def __init__(self, message: str, hint: str):
        super().__init__([Problem(message, hint=hint)])
        self.message, self.hint = message, hint


class UnreadableError(SpecError):
    """An expression is needed that could not be read. What would follow from it is unknown; its own problems are reported."""


def _order(problem: Problem) -> tuple[str, int]:
    return (problem.span.text.name, problem.span.start) if problem.span else ("", -1)


def error(message: str, span: Span | None = None, hint: str | None = None) -> SpecError:
    """A :class:`SpecError` with one problem, for the caller to raise.

    >>> raise error("there is no file 'my.yml'", hint="did you mean 'my.yaml'?")
    Traceback (most recent call last):
        ...
    metablock.errors.SpecError: there is no file 'my.yml'
      did you mean 'my.yaml'?
    """
    return SpecError([Problem(message, span, hint)])


def install_hint(extra: str) -> str:
    """How the packages of an extra (``ablate``, of ``[project.optional-dependencies]``) are installed: a hint for an error.

    It names the checkout: the distribution is on no package index.

    >>> install_hint("onnx")
    "from a checkout: pip install '.[onnx]'"
    """
    return f"from a checkout: pip install '.[{extra}]'"


def suggest(word: str, options: Iterable[str], otherwise: str | None = None) -> str | None:
    """A hint for an unknown word: the option that it resembles; ``otherwise`` if none is near. Of equally near ones the first.

    >>> suggest("atention", ["attention", "pool", "dw"])
    "did you mean 'attention'?"
    >>> suggest("clamp", ["ramp", "lamp_post"], "`metablock list --operators` shows the operators")
    '`metablock list --operators` shows the operators'
    """
    near = nearest(word, options)
    return f"did you mean '{near}'?" if near is not None else otherwise


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option that a word resembles, or None: the same letters in another case or with other marks between them, a few slips
    of the pen (one in three to five letters, two in six, three from ten), or the beginning of an option, three letters or more.

    >>> nearest("LayerNorm", ["layer_norm", "norm"]), nearest("haed", ["shared", "head"]), nearest("sin", ["min", "sine"])
    ('layer_norm', 'head', 'sine')
    >>> nearest("sigm", ["id", "sigmoid"]), nearest("abs", ["agent_bias"]), nearest("pad", ["spread"])
    ('sigmoid', None, None)
    """
    if len(word) > MAX_WORD:
        return None
    wanted = _letters(word)
    best: tuple[float, str] | None = None
    for option in islice((option for option in options if len(option) <= MAX_WORD), MAX_OPTIONS):
        distance = _distance(wanted, _letters(option), best[0] if best else 5.0)
        if option != word and distance is not None and (best is None or distance < best[0]):
            best = distance, option
    return best[1] if best else None


def _letters(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "").replace(".", "")


def _distance(word: str, option: str, below: float) -> float | None:
    """How far an option is from a word; None where it is not near, or no nearer than ``below``."""
    if word == option:
        return 0.0 if word else None
    short = min(len(word), len(option))
    if short == 2 and abs(len(word) - len(option)) == 1 and word[:2] == option[:2]:
        return 1.0
    if short < 3:
        return None
    slips = _slips(word, option, min(1 if short < 6 else 2 if short < 10 else 3, math.ceil(below) - 1))
    if slips is not None and (short > 3 or word[0] == option[0]):
        return float(slips)
    return 4.0 + len(option) / MAX_WORD if option.startswith(word) else None


def _slips(a: str, b: str, limit: int) -> int | None:
    """The letters to change, add, drop or exchange with their neighbour that make one word of the other; None: over the limit.

    >>> _slips("haed", "head", 1), _slips("kernl", "kernel", 1), _slips("clamp", "ramp", 1)
    (1, 1, None)
    """
    if limit < 1 or abs(len(a) - len(b)) > limit or len(set(a).symmetric_difference(b)) > 2 * limit:
        return None
    start, end = _same(a, b), _same(a[::-1], b[::-1])
    end = max(0, min(end, len(a) - start, len(b) - start))
    a, b = a[start : len(a) - end], b[start : len(b) - end]
    before: list[int] = []
    row = list(range(len(b) + 1))
    far = limit + 1
    for i, letter in enumerate(a, 1):
        above, before = before, row
        row = [far] * (len(b) + 1)
        low = max(1, i - limit)
        row[low - 1] = i if low == 1 else far
        for j in range(low, min(len(b), i + limit) + 1):
            other = b[j - 1]
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                least = min(least, above[j - 2] + 1)
            row[j] = least
        if min(row) > limit:
            return None
    return row[-1] if row[-1] <= limit else None


def _same(a: str, b: str) -> int:
    """How many letters two words begin with in common."""
    return next((at for at, (letter, other) in enumerate(zip(a, b, strict=False)) if letter != other), min(len(a), len(b)))
