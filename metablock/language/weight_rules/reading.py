"""Reads one rule: from its text to a rule that can be applied, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import Problem, Span, SpecError, error, suggest
from .. import ast as e
from ..arithmetic import calculate
from ..parser import parse_value, whole
from ..spec import Rule

# The steps after a `|`, and their numbers of arguments (None: any number).
STEPS: Mapping[str, int | None] = {
    "chunk": 2, "rows": 2, "columns": 2, "flip": 0, "transpose": 0, "reshape": None, "permute": None, "ungroup": None,
    "pointwise": 0,
}  # fmt: skip
_STEPS_HINT = (
    "there are chunk(k, n), rows(a, b), columns(a, b), flip, transpose, reshape(...), permute(...), ungroup(n, a, b), pointwise"
)
_NUMBER_HINT = "write `{i}`, `{2 * i + 1}`, `{layer(i, j)}`, `{layers}`"
_OPERATORS = ("+", "-", "*", "//", "%")  # those that lead from whole numbers to whole numbers
# Counts of the network: its blocks, its stages.
_COUNTS: Mapping[str, Callable[[Sequence[int]], int]] = {"layers": sum, "stages": len}
_PIECE = re.compile(r"\{([^{}]*)\}|\*+|[{}]|[^{}*]+")
_REST = "_rest_"


@dataclass(frozen=True)
class Fit:
    """One of our names, matched by a rule's left side: its numbers and its rest; and the number of blocks of each stage."""

    numbers: Mapping[str, int]
    rest: str
    blocks: Sequence[int]


@dataclass(frozen=True)
class Key:
    """A foreign name: text, expressions for numbers, and None for the rest."""

    parts: tuple[str | e.Node | None, ...]

    def fill(self, fit: Fit) -> str:
        """The foreign name that belongs to one of our names."""
        return "".join(
            part if isinstance(part, str) else fit.rest if part is None else str(_number(part, fit)) for part in self.parts
        )


@dataclass(frozen=True)
class RuleStep:
    """A step that transforms the tensor: ``chunk(0, 3)``."""

    name: str
    args: tuple[e.Node, ...]
    text: str

    def numbers(self, fit: Fit) -> list[int]:
        """The values of its arguments for one of our names."""
        return [_number(arg, fit) for arg in self.args]


@dataclass(frozen=True)
class ReadyRule:
    """A rule without problems.

    ``deep``: other rules translate the rest; ``text``, ``theirs``: its left and its right side; ``through``: the left
    sides of the `**` rules that led to it.
    """

    pattern: re.Pattern[str]
    keys: tuple[Key, ...]
    steps: tuple[RuleStep, ...]
    span: Span | None
    deep: bool = False
    text: str = ""
    theirs: str = ""
    through: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Its file and line; empty if it is in none."""
        if self.span is None:
            return ""
        return f"{self.span.text.name}:{self.span.text.place(self.span.start)[0]}"

    def __str__(self) -> str:
        """The rule with its place, and the `**` rules whose rest it translates."""
        above = f" (its rest, behind {', '.join(f'`{text}`' for text in self.through)})" if self.through else ""
        return f"{self.place}: `{self.text}: {self.theirs}`{above}" if self.place else f"`{self.text}: {self.theirs}`{above}"

    def fit(self, name: str, blocks: Sequence[int]) -> Fit | None:
        """Matches one of our names with this rule's left side. None: it does not fit."""
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        groups = match.groupdict()
        rest = groups.pop(_REST, "")
        return Fit({key: int(value) for key, value in groups.items()}, rest, blocks)


class Reader:
    """Reads a rule and collects its problems. ``names`` and ``rest`` are what the left side defines for the right side."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self.problems: list[Problem] = []
        self.names: list[str] = []
        self.rest = ""

    def wrong(self, message: str, span: Span, hint: str | None) -> None:
        self.problems.append(Problem(message, span, hint))

    def read(self) -> ReadyRule | None:
        pattern = self.left(_located(self.rule.ours, self.rule.ours_at))
        sources, *steps = _split(_located(self.rule.theirs, self.rule.theirs_at), "|")
        keys = [self.key(part) for part in _split(sources, "++")]
        steps = [self.without_sum(part) for part in steps]
        done = [self.step(part) for part in steps]
        deep = self.rest == "**"
        if deep and (len(keys) > 1 or steps):
            self.wrong("a rule with `**` only renames", sources, "`++` and `|` stand in the rules that translate the rest")
        if self.problems:
            return None
        return ReadyRule(
            pattern,
            tuple(keys),
            tuple(step for step in done if step is not None),
            self.rule.span,
            deep,
            self.rule.ours,
            self.rule.theirs,
        )

    def without_sum(self, step: Span) -> Span:
        """A step, without the `++` that may not follow it: steps transform the concatenated tensor."""
        at = step.content.find("++")
        if at < 0:
            return step
        self.wrong("`++` after a step", step.part(at, at + 2), "steps stand last, and apply to the whole: `a ++ b | chunk(0, 3)`")
        return step.part(0, len(step.content[:at].rstrip()))

    def left(self, span: Span) -> re.Pattern[str]:
        """``stages.{i}.norm.*`` as a regular expression; a name that occurs twice is the same number."""
        parts: list[str] = []
        for piece in _PIECE.finditer(span.content):
            text, at = piece[0], span.part(*piece.span())
            if text.startswith("*"):
                if text != "*" and (text != "**" or piece.start() == 0 or piece.end() != len(span.content)):
                    self.wrong(
                        f"'{text}' on the left side",
                        at,
                        "`*` is a rest as it is; `**`, at the end of a name, one that other rules translate",
                    )
                elif self.rest:
                    self.wrong("a second `*` on the left side", at, "`*` stands once, for the rest of a name; numbers are `{i}`")
                else:
                    parts.append(f"(?P<{_REST}>.+)")
                self.rest = self.rest or text
            elif text.startswith("{") and text != "{":
                name = piece[1].strip()
                if not re.fullmatch(r"[A-Za-z]\w*", name) or name in ("layer", *_COUNTS):
                    self.wrong(f"'{text}' names no number", at, "on the left `{i}` gives a number a name")
                    self.names += re.findall(r"[A-Za-z]\w*", name)  # so that the right side does not report them again
                    continue
                parts.append(f"(?P={name})" if name in self.names else rf"(?P<{name}>\d++)")
                self.names.append(name)
            elif text in "{}":
                self._brace(at)
            else:
                self._plain(text, at)
                parts.append(re.escape(text))
        return re.compile("".join(parts) if not self.problems else "")

    def key(self, span: Span) -> Key:
        parts: list[str | e.Node | None] = []
        for piece in _PIECE.finditer(span.content):
            text, at = piece[0], span.part(*piece.span())
            if text.startswith("*"):
                parts.append(None)
                if text != self.rest and self.rest in ("*", "**"):
                    self.wrong(f"'{text}' on the right side", at, "write it as on the left: it is the same rest")
            elif text.startswith("{") and text != "{":
                node = self.expression(at.part(1, len(text) - 1))
                parts += [node] if node is not None else []
            elif text in "{}":
                self._brace(at)
            else:
                self._plain(text, at)
                parts.append(text)
        if not span.content:
            self.wrong("a foreign name is missing", span, "write the key of the checkpoint that holds this parameter")
        elif bool(self.rest) != (None in parts):
            side = "left" if self.rest else "right"
            self.wrong(f"`*` stands on the {side} side only", span, "it is the same rest on both sides")
        return Key(tuple(parts))

    def _brace(self, at: Span) -> None:
        self.wrong("a brace without its partner", at, _NUMBER_HINT)

    def _plain(self, text: str, at: Span) -> None:
        bad = re.search(r"[^\w.\-/:]+", text)
        if bad:
            self.wrong(
                f"'{bad[0].strip() or ' '}' in a parameter name",
                at.part(*bad.span()),
                "`a ++ b` concatenates, `a | chunk(0, 3)` takes a part",
            )

    def step(self, span: Span) -> RuleStep | None:
        try:
            node = parse_value(span)
        except SpecError as wrong:
            self.problems.extend(wrong.problems)
            return None
        name = node.func if isinstance(node, e.Call) else node
        args = node.args if isinstance(node, e.Call) else ()
        if not isinstance(name, e.Name):
            self.wrong("a step is a name with numbers", span, _STEPS_HINT)
            return None
        if name.id not in STEPS:
            self.wrong(f"unknown step '{name.id}' in a weight rule", name.span or span, suggest(name.id, STEPS, _STEPS_HINT))
            return None
        wanted = STEPS[name.id]
        if any(arg.name for arg in args) or (wanted is not None and len(args) != wanted):
            self.wrong(f"'{name.id}' takes {'only' if wanted is None else wanted or 'no'} numbers", span, _STEPS_HINT)
            return None
        before = len(self.problems)
        for arg in args:
            self.number(arg.value, span)
        step = RuleStep(name.id, tuple(arg.value for arg in args), span.content)
        if len(self.problems) == before:
            self._possible(step, span)
        return step

    def _possible(self, step: RuleStep, span: Span) -> None:
        """Reports constant arguments that no tensor allows."""
        try:
            values = step.numbers(Fit({}, "", ()))
        except SpecError:
            return
        match step.name, values:
            case "chunk", [k, n] if not 0 <= k < n:
                self.wrong(f"there is no part {k} of {n}", span, "parts are numbered from 0: `chunk(0, 3)` is the first of three")
            case "rows" | "columns", [start, stop] if not 0 <= start < stop:
                self.wrong(f"an empty range from {start} to {stop}", span, "the first counts from 0, the last is left out")
            case "reshape", _ if min(values, default=1) < -1 or 0 in values or values.count(-1) > 1:
                self.wrong("this is no shape", span, "extents from 1, and -1 once for what is left over")
            case "ungroup", _ if len(values) < 3 or min(values[1:]) < 1 or values[0] < -1 or not values[0]:
                self.wrong("these are no groups", span, "how many, then the rows of each part: `ungroup(8, 32, 32, 128)`")
            case "permute", _ if not values or sorted(values) != list(range(len(values))):
                self.wrong("this is no order of axes", span, f"every axis once: {', '.join(map(str, range(len(values))))}")

    def expression(self, span: Span) -> e.Node | None:
        """The expression inside braces."""
        try:
            node = parse_value(span)
        except SpecError as wrong:
            self.problems.extend(wrong.problems)
            return None
        self.number(node, span)
        return node

    def number(self, node: e.Node, around: Span) -> None:
        """Reports an expression that is not always a whole number."""
        at = node.span or around
        match node:
            case e.Number(value=int()):
                return
            case e.Name(id=name):
                if name not in self.names and name not in _COUNTS:
                    known = (
                        f"the left side names {', '.join(dict.fromkeys(self.names))}"
                        if self.names
                        else "the left side names no number"
                    )
                    self.wrong(f"'{name}' is not named on the left side", at, known)
            case e.Negative(value=value):
                self.number(value, around)
            case e.Binary(op=op, left=left, right=right) if op in _OPERATORS:
                self.number(left, around)
                self.number(right, around)
                if op in ("//", "%") and isinstance(right, e.Number) and right.value == 0:
                    self.wrong("division by zero", at, _NUMBER_HINT)
            case e.Call(func=e.Name(id="layer"), args=args) if len(args) == 2 and not any(arg.name for arg in args):
                for arg in args:
                    self.number(arg.value, around)
            case _:
                self.wrong("a weight rule computes with whole numbers", at, _NUMBER_HINT)


def _located(text: str, span: Span | None) -> Span:
    """The place of one side of a rule; a text of its own if the place is unknown, or YAML changed the text."""
    return span if span is not None and span.content == text else whole(text, "<weights>")


def _split(span: Span, mark: str) -> list[Span]:
    """The parts between marks, without the white space around them."""
    parts: list[Span] = []
    start = 0
    for piece in span.content.split(mark):
        lead = len(piece) - len(piece.lstrip())
        parts.append(span.part(start + lead, start + max(lead, len(piece.rstrip()))))
        start += len(piece) + len(mark)
    return parts


def _number(node: e.Node, fit: Fit) -> int:
    """The value of an expression that :meth:`Reader.number` let pass."""
    match node:
        case e.Number(value=int(value)):
            return value
        case e.Name(id=name) if name in _COUNTS:
            return _COUNTS[name](fit.blocks)
        case e.Name(id=name) if name in fit.numbers:
            return fit.numbers[name]
        case e.Negative(value=value):
            return -_number(value, fit)
        case e.Binary(op=op, left=left, right=right):
            try:
                return int(calculate(op, _number(left, fit), _number(right, fit)))
            except ZeroDivisionError:
                raise error("division by zero", node.span, _NUMBER_HINT) from None
            except OverflowError:
                raise error("the result is too large for a number", node.span, "use smaller numbers") from None
        case e.Call(args=(first, second)):
            stage, block = _number(first.value, fit), _number(second.value, fit)
            if not 0 <= stage <= len(fit.blocks):
                raise error(
                    f"there is no stage {stage} in this network of {len(fit.blocks)}", node.span, "stages are numbered from 0"
                )
            return sum(fit.blocks[:stage]) + block
    raise error("a weight rule computes with whole numbers", node.span, _NUMBER_HINT)
