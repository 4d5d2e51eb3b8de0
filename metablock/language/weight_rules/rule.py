"""A rule that can be applied: the names that it fits, what it reads there, and what it does with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ...errors import Span, error
from .. import ast as e
from ..arithmetic import calculate
from .network import NetworkFacts, Scalar

NUMBER_HINT = "write `{i}`, `{2 * i + 1}`, `{layer(i, j)}`, `{layers}`"
TEST_HINT = 'write `if i > 0`, `if dim[i] == 64`, `if variant == "large"`, `if has("attn")`, joined with `and`, `or`, `not`'
# Counts of the network: its blocks, its stages.
COUNTS: Mapping[str, Callable[[Sequence[int]], int]] = {"layers": sum, "stages": len}
REST = "_rest_"
# Stands in a foreign name for all numbers that the checkpoint has there.
EVERY = "{*}"
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class Fit:
    """One of our names, matched by a rule's left side: its numbers and its rest; the whole name, and the network."""

    numbers: Mapping[str, int]
    rest: str
    network: NetworkFacts
    name: str = ""


@dataclass(frozen=True)
class Key:
    """A foreign name: text, expressions for numbers, None for the rest; ``{*}`` in a text for every number."""

    parts: tuple[str | e.Node | None, ...]

    def fill(self, fit: Fit) -> str:
        """The foreign name that belongs to one of our names."""
        return "".join(
            part if isinstance(part, str) else fit.rest if part is None else str(number(part, fit)) for part in self.parts
        )

    @property
    def many(self) -> bool:
        """Whether it stands for several names: those with all numbers in the place of ``{*}``."""
        return any(isinstance(part, str) and EVERY in part for part in self.parts)


@dataclass(frozen=True)
class RuleStep:
    """A step that transforms the tensor: ``chunk(0, 3)``."""

    name: str
    args: tuple[e.Node, ...]
    text: str

    def numbers(self, fit: Fit) -> list[int]:
        """The values of its arguments for one of our names."""
        return [number(arg, fit) for arg in self.args]


@dataclass(frozen=True)
class Joined:
    """Tensors, or parts in parentheses with steps of their own, joined along the first axis; then steps for the whole."""

    parts: tuple[Key | Joined, ...]
    steps: tuple[RuleStep, ...] = ()

    @property
    def keys(self) -> Iterator[Key]:
        """The foreign names, in order."""
        for part in self.parts:
            if isinstance(part, Key):
                yield part
            else:
                yield from part.keys

    @property
    def moves(self) -> bool:
        """Whether it does more than to rename."""
        parts = self.parts
        return bool(self.steps) or len(parts) > 1 or any(part.many if isinstance(part, Key) else part.moves for part in parts)

    def renamed(self, new: Callable[[Key], Key]) -> Joined:
        """The same with other names."""
        return replace(self, parts=tuple(new(part) if isinstance(part, Key) else part.renamed(new) for part in self.parts))


@dataclass(frozen=True)
class ReadyRule:
    """A rule without problems.

    ``test``: it fits only where this holds; ``deep``: other rules translate the rest; ``text``, ``theirs``: its two sides;
    ``through``: the left sides of the `**` rules that led to it.
    """

    pattern: re.Pattern[str]
    source: Joined
    span: Span | None
    deep: bool = False
    text: str = ""
    theirs: str = ""
    test: e.Node | None = None
    through: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[Key, ...]:
        """The foreign names that it reads, in order."""
        return tuple(self.source.keys)

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

    def fit(self, name: str, network: NetworkFacts, whole: str | None = None) -> Fit | None:
        """Matches one of our names with this rule's left side. None: it does not fit, or its test does not hold.

        ``whole``: the name, if ``name`` is a rest of it. Raises SpecError for a test without a meaning here.
        """
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        groups = match.groupdict()
        rest = groups.pop(REST, "")
        fit = Fit({key: int(value) for key, value in groups.items()}, rest, network, whole or name)
        return fit if self.test is None or holds(self.test, fit) else None


def number(node: e.Node, fit: Fit) -> int:
    """The value of an expression in braces, or of a step's argument."""
    blocks = fit.network.blocks
    match node:
        case e.Number(value=int(value)):
            return value
        case e.Name(id=name) if name in fit.numbers:
            return fit.numbers[name]
        case e.Name(id=name) if name in COUNTS:
            return COUNTS[name](blocks)
        case e.Negative(value=value):
            return -number(value, fit)
        case e.Binary(op=op, left=left, right=right):
            try:
                return int(calculate(op, number(left, fit), number(right, fit)))
            except ZeroDivisionError:
                raise error("division by zero", node.span, NUMBER_HINT) from None
            except OverflowError:
                raise error("the result is too large for a number", node.span, "use smaller numbers") from None
        case e.Call(func=e.Name(id="layer"), args=(first, second)):
            stage, block = number(first.value, fit), number(second.value, fit)
            if not 0 <= stage <= len(blocks):
                raise error(
                    f"there is no stage {stage} in this network of {len(blocks)}", node.span, "stages are numbered from 0"
                )
            return sum(blocks[:stage]) + block
    raise error("a weight rule computes with whole numbers", node.span, NUMBER_HINT)


def holds(node: e.Node, fit: Fit) -> bool:
    """Whether a test holds for one of our names. Raises SpecError for one without a meaning in this network."""
    match node:
        case e.Logic(op=op, left=left, right=right):
            first = holds(left, fit)
            return (first and holds(right, fit)) if op == "and" else (first or holds(right, fit))
        case e.Not(value=value):
            return not holds(value, fit)
        case e.Compare(op=op, left=left, right=right):
            a, b = _scalar(left, fit), _scalar(right, fit)
            if op in ("==", "!="):
                return (a == b) == (op == "==")
            if isinstance(a, str) or isinstance(b, str):
                raise error("words have no order", node.span, "compare them with `==` or `!=`")
            return _COMPARE[op](a, b)
        case e.Call(func=e.Name(id="has"), args=(slot,)) if isinstance(slot.value, e.String):
            return fit.network.has(fit.name, slot.value.value)
    return bool(_scalar(node, fit))


def _scalar(node: e.Node, fit: Fit) -> Scalar:
    """The value of a side of a comparison."""
    match node:
        case e.String(value=text):
            return text
        case e.Number(value=value):
            return value
        case e.Name(id="true" | "false" as word):
            return int(word == "true")
        case e.Name(id=name) if name not in fit.numbers and name not in COUNTS:
            return fit.network.value(name, None, node.span)
        case e.Index(base=e.Name(id=name), at=index):
            return fit.network.value(name, number(index, fit), node.span)
    return number(node, fit)
