"""Reads one rule: from its text to a rule that can be applied, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

from ...errors import Problem, Span, SpecError, suggest
from .. import ast as e
from ..parser import parse_test, parse_value, whole
from ..spec import Rule
from .network import NetworkFacts
from .rule import COUNTS, EVERY, NUMBER_HINT, REST, TEST_HINT, Fit, Joined, Key, ReadyRule, RuleStep

# The steps after a `|`, and their numbers of arguments (None: any number).
STEPS: Mapping[str, int | None] = {
    "chunk": 2, "rows": 2, "columns": 2, "flip": 0, "transpose": 0, "reshape": None, "permute": None, "ungroup": None,
    "pointwise": 0,
}  # fmt: skip
_STEPS_HINT = (
    "there are chunk(k, n), rows(a, b), columns(a, b), flip, transpose, reshape(...), permute(...), ungroup(n, a, b), pointwise"
)
_OPERATORS = ("+", "-", "*", "//", "%")  # those that lead from whole numbers to whole numbers
_PIECE = re.compile(r"\{([^{}]*)\}|\*+|[{}]|[^{}*]+")
_IF = re.compile(r"(?:^|\s+)if(?:\s+|$)")
_PARTS_HINT = "a step behind `|` applies to the whole; to a part in parentheses: `(a | chunk(0, 3)) ++ (b | chunk(2, 3))`"


class Reader:
    """Reads a rule and collects its problems. ``names`` and ``rest`` are what the left side defines for the right side.

    ``known``: the columns and bindings that a test may name; None: any.
    """

    def __init__(self, rule: Rule, known: Set[str] | None = None):
        self.rule = rule
        self.known = known
        self.problems: list[Problem] = []
        self.names: list[str] = []
        self.rest = ""

    def wrong(self, message: str, span: Span, hint: str | None) -> None:
        self.problems.append(Problem(message, span, hint))

    def read(self) -> ReadyRule | None:
        ours, theirs = _located(self.rule.ours, self.rule.ours_at), _located(self.rule.theirs, self.rule.theirs_at)
        name, condition = _conditional(ours)
        pattern = self.left(name)
        test = self.test(condition) if condition is not None else None
        theirs = self.without_test(theirs)
        source = self.joined(theirs)
        deep = self.rest == "**"
        if deep and source.moves:
            self.wrong("a rule with `**` only renames", theirs, "`++` and `|` stand in the rules that translate the rest")
        if self.problems:
            return None
        return ReadyRule(pattern, source, self.rule.span, deep, self.rule.ours, self.rule.theirs, test)

    def without_test(self, theirs: Span) -> Span:
        """The right side, without a test, which stands on the left."""
        rest, condition = _conditional(theirs)
        if condition is not None and rest.content:
            hint = f"it stands behind our name: `{self.rule.ours} if {condition.content or 'i > 0'}: {rest.content}`"
            self.wrong("a test on the right side", condition, hint)
        return rest if condition is not None and rest.content else theirs

    def joined(self, span: Span) -> Joined:
        """Names, or parts in parentheses, joined by `++`; behind them steps, each after a `|`."""
        sources, *steps = _split(span, "|")
        parts = [self.part(part) for part in _split(sources, "++")]
        done = [self.step(part) for part in [self.without_sum(step) for step in steps]]
        return Joined(tuple(parts), tuple(step for step in done if step is not None))

    def part(self, span: Span) -> Key | Joined:
        """A name; or what stands in parentheses, with steps of its own."""
        text = span.content
        if text.startswith("(") and text.endswith(")") and _closes(text):
            inner = text[1:-1]
            lead = 1 + len(inner) - len(inner.lstrip())
            return self.joined(span.part(lead, max(lead, 1 + len(inner.rstrip()))))
        if text.startswith("("):
            self.wrong("a parenthesis without its partner", span.part(0, 1), _PARTS_HINT)
            return Key(())
        return self.key(span)

    def without_sum(self, step: Span) -> Span:
        """A step, without the `++` that may not follow it: steps transform the concatenated tensor."""
        at = step.content.find("++")
        if at < 0:
            return step
        self.wrong("`++` after a step", step.part(at, at + 2), _PARTS_HINT)
        return step.part(0, len(step.content[:at].rstrip()))

    def test(self, span: Span) -> e.Node | None:
        """The condition behind `if`."""
        if not span.content:
            self.wrong("a test is missing behind `if`", span, TEST_HINT)
            return None
        try:
            node = parse_test(span)
        except SpecError as wrong:
            self.problems.extend(wrong.problems)
            return None
        self.condition(node, span)
        return node

    def condition(self, node: e.Node, around: Span) -> None:
        """Reports what is no test."""
        match node:
            case e.Logic(left=left, right=right):
                self.condition(left, around)
                self.condition(right, around)
            case e.Not(value=value):
                self.condition(value, around)
            case e.Compare(left=left, right=right):
                self.side(left, around)
                self.side(right, around)
            case e.Call(func=e.Name(id="has"), args=args):
                if len(args) != 1 or args[0].name or not isinstance(args[0].value, e.String):
                    hint = 'write `has("attn")`: whether the block that holds the tensor has this slot'
                    self.wrong("`has` takes one word", node.span or around, hint)
            case _:
                self.side(node, around)

    def side(self, node: e.Node, around: Span) -> None:
        """Reports what is no side of a comparison."""
        match node:
            case e.String() | e.Number() | e.Name(id="true" | "false"):
                return
            case e.Name(id=name) if name not in self.names and name not in COUNTS:
                self.value(name, node.span or around)
            case e.Index(base=e.Name(id=name, span=at), at=index) if not isinstance(index, e.Slice):
                self.value(name, at or around)
                self.number(index, around)
            case e.Name() | e.Negative() | e.Binary() | e.Call(func=e.Name(id="layer")):
                self.number(node, around)
            case _:
                self.wrong("this is no test", node.span or around, TEST_HINT)

    def value(self, name: str, at: Span) -> None:
        """Reports a name that no column or binding of the file has."""
        if self.known is not None and name not in self.known:
            options = [*self.known, *self.names, *COUNTS, "has"]
            otherwise = f"it is no number of the left side, no column and no binding; {TEST_HINT}"
            self.wrong(f"unknown name '{name}' in a test", at, suggest(name, options, otherwise))

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
                    parts.append(f"(?P<{REST}>.+)")
                self.rest = self.rest or text
            elif text.startswith("{") and text != "{":
                name = piece[1].strip()
                if not re.fullmatch(r"[A-Za-z]\w*", name) or name in ("layer", *COUNTS):
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
            elif text.startswith("{") and piece[1] is not None and piece[1].strip() == "*":
                parts.append(EVERY)
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
        elif parts.count(EVERY) > 1:
            self.wrong("a second `{*}` in a name", span, "one number of a name runs through all that there are")
        return Key(tuple(parts))

    def _brace(self, at: Span) -> None:
        self.wrong("a brace without its partner", at, NUMBER_HINT)

    def _plain(self, text: str, at: Span) -> None:
        bad = re.search(r"[^\w.\-/:]+", text)
        if bad:
            self.wrong(
                f"'{bad[0].strip() or ' '}' in a parameter name",
                at.part(*bad.span()),
                "`a ++ b` concatenates, `a | chunk(0, 3)` takes a part, `(a | flip) ++ b` of one of them",
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
            values = step.numbers(Fit({}, "", NetworkFacts()))
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
                if name not in self.names and name not in COUNTS:
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
                    self.wrong("division by zero", at, NUMBER_HINT)
            case e.Call(func=e.Name(id="layer"), args=args) if len(args) == 2 and not any(arg.name for arg in args):
                for arg in args:
                    self.number(arg.value, around)
            case _:
                self.wrong("a weight rule computes with whole numbers", at, NUMBER_HINT)


def _located(text: str, span: Span | None) -> Span:
    """The place of one side of a rule; a text of its own if the place is unknown, or YAML changed the text."""
    return span if span is not None and span.content == text else whole(text, "<weights>")


def _split(span: Span, mark: str) -> list[Span]:
    """The parts between marks that stand in no brackets, without the white space around them."""
    text, depth, start = span.content, 0, 0
    pieces: list[tuple[int, int]] = []
    at = 0
    while at < len(text):
        depth = max(0, depth + (text[at] in "({") - (text[at] in ")}"))
        if not depth and text.startswith(mark, at):
            pieces.append((start, at))
            at = start = at + len(mark)
        else:
            at += 1
    pieces.append((start, len(text)))
    result = []
    for first, last in pieces:
        piece = text[first:last]
        lead = len(piece) - len(piece.lstrip())
        result.append(span.part(first + lead, first + max(lead, len(piece.rstrip()))))
    return result


def _closes(text: str) -> bool:
    """Whether the parenthesis at the beginning is closed by the one at the end."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if not depth:
            return at == len(text) - 1
    return False


def _conditional(span: Span) -> tuple[Span, Span | None]:
    """What stands before an `if`, and the test behind it; None: there is no `if`."""
    match = _IF.search(span.content)
    if match is None:
        return span, None
    return span.part(0, match.start()), span.part(match.end(), len(span.content))


def name_part(text: str) -> str:
    """A left side without its test.

    >>> name_part("stages.{i}.down.* if i > 0")
    'stages.{i}.down.*'
    """
    return _IF.split(text, maxsplit=1)[0]
