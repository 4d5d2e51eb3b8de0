"""A study: a base architecture, what varies in it, how cost is matched, on what data it is trained, and how often.

A study is a YAML file that is read like a spec, every mistake with its place, or the same from the command line::

    study: mixers
    base: poolformer_s12
    factors:
      token:
        - pool(3)
        - attention(dim // 32)
    match: macs
    data: digits
    recipe: {of: small, epochs: 20}
    seeds: 3

A *factor* is a slot or column and the values that it takes; each value makes a *level*. ``stages[*].token: [dw(7)]`` is a
placement sweep: a level a stage. A level may also be several edits under a name of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..catalogue.lookup import open_spec
from ..errors import Span, error
from ..language import ast as e
from ..language.choices import OpenChoice, choices, chosen
from ..language.edits import parse_edits, resolve, stage_count
from ..language.parser import parse_target, parse_value, whole
from ..language.printer import show
from ..language.spec import Edit, Spec

DESIGNS = ("grid", "one_at_a_time")
MATCHES = ("macs", "params", "none")


@dataclass(frozen=True)
class Level:
    """One value of a factor: what it is called, and the edits that it makes."""

    name: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class Factor:
    """A slot or column and its levels. ``stages``: a placement sweep, whose levels are (value, stage) pairs in this order."""

    name: str
    levels: tuple[Level, ...]
    sweep: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Match:
    """How cost is matched: by what, within which relative tolerance, by which widths (found by itself where not given)."""

    by: str = "none"
    tolerance: float = 0.05
    scale: tuple[str, ...] = ()
    multiple: int = 8


@dataclass(frozen=True)
class Study:
    """What is compared. ``recipe`` and ``data`` are names with overrides; ``margin`` is the difference that would matter."""

    name: str
    base: str
    variant: str | None = None
    edits: tuple[Edit, ...] = ()
    factors: tuple[Factor, ...] = ()
    design: str = "one_at_a_time"
    match: Match = field(default_factory=Match)
    data: str = "digits"
    input: str | None = None
    recipe: str = "small"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    alpha: float = 0.05
    margin: float = 0.01

    def spec(self) -> tuple[Spec, str | None]:
        """The base's file, and the variant that is meant. Raises MetablockError."""
        spec, named = open_spec(self.base)
        return spec, self.variant or named

    def resolved(self) -> Spec:
        """The base as a network, its edits made. Raises MetablockError."""
        spec, variant = self.spec()
        return resolve(spec, variant, self.edits)

    def varied(self) -> Study:
        """The study with a factor more for each choice that its base leaves open (``one_of``)."""
        spec, variant = self.spec()
        known = {one.name for one in self.factors}
        found = open_factors(resolve(spec, variant, self.edits, choose=False))
        return replace(self, factors=(*self.factors, *(one for one in found if one.name not in known)))


def parse_swap(text: str, base: Spec, name: str = "--swap") -> Factor:
    """``token = pool(3), dw(7), none``: a factor with three levels. Raises SpecError with the place."""
    span = whole(text, name)
    content = span.content
    at = next((i for i, char in enumerate(content) if char == "=" and content[i : i + 2] != "=="), -1)
    if at < 0:
        raise error("a swap is `slot = value, value, ...`", span, "for instance token = pool(3), attention(dim // 32)")
    target = _stripped(span.part(0, at))
    values = [_stripped(span.part(at + 1 + start, at + 1 + end)) for start, end in _commas(content[at + 1 :])]
    empty = next((value for value in values if not value.content), None)
    if empty is not None:
        raise error(
            "a value is missing here", span.part(max(0, empty.start - span.start - 1), empty.start - span.start), "remove a comma"
        )
    return factor(target, [(value, parse_value(value)) for value in values], base)


def factor(target: Span, values: Sequence[tuple[Span, e.Node]], base: Spec) -> Factor:
    """A factor from its target and values; ``base`` gives the stages of a sweep. Raises SpecError."""
    place = parse_target(target)
    name = show(place)
    seen: dict[str, Span] = {}
    for span, value in values:
        if show(value) in seen:
            raise error(f"the value `{show(value)}` stands twice", span, "keep one of the two")
        seen[show(value)] = span
    if isinstance(place, e.StageTarget) and "*" in target.content:
        levels, sweep = [], []
        for span, value in values:
            for stage in range(stage_count(base)):
                at = e.StageTarget(e.Number(stage), place.name, span=target)
                levels.append(Level(f"stage {stage}: {show(value)}", (Edit(at, value, span),)))
                sweep.append((show(value), stage))
        return Factor(f"{place.name} in a stage", tuple(levels), tuple(sweep))
    return Factor(name, tuple(Level(show(value), (Edit(place, value, span),)) for span, value in values))


def open_factors(spec: Spec) -> tuple[Factor, ...]:
    """A factor for each slot with ``one_of`` in it; where it has several, their combinations are its levels."""
    slots: dict[str, list[OpenChoice]] = {}
    tables = {**spec.let, **spec.shared, **spec.columns, **spec.stage_shared}
    for choice in choices(spec):
        slots.setdefault(
            next(slot for slot in tables if choice.name.rstrip("0123456789") == slot or choice.name == slot), []
        ).append(choice)
    factors = []
    for slot, found in slots.items():
        levels = []
        for picks in itertools.product(*(range(len(choice.options)) for choice in found)):
            body = {**(filled := chosen(spec, dict(zip([c.name for c in found], picks, strict=True)))).let, **filled.shared,
                    **filled.columns, **filled.stage_shared}[slot].body  # fmt: skip
            name = ", ".join(show(choice.options[pick]) for choice, pick in zip(found, picks, strict=True))
            levels.append(Level(name, (Edit(e.Header(slot), body),)))
        factors.append(Factor(slot, tuple(levels)))
    return tuple(factors)


def _stripped(span: Span) -> Span:
    content = span.content
    start = len(content) - len(content.lstrip())
    return span.part(start, max(start, len(content.rstrip())))


def _commas(content: str) -> list[tuple[int, int]]:
    """The pieces between commas that stand in no brackets and no string."""
    pieces, start, depth, quoted = [], 0, 0, False
    for i, char in enumerate(content):
        if char == '"':
            quoted = not quoted
        elif not quoted:
            depth += (char in "([{") - (char in ")]}")
            if char == "," and depth == 0:
                pieces.append((start, i))
                start = i + 1
    return [*pieces, (start, len(content))]


def edits_of(texts: Iterable[str]) -> tuple[Edit, ...]:
    """``--edit`` edits."""
    return parse_edits(texts)
