"""A study: a base architecture, what varies in it, how cost is matched, on what data it is trained, and how often.

A study comes from the command line, or from a YAML file that is read like a spec, every mistake with its place::

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

A *factor* is a slot or column with the values that it takes; each value is a *level*. ``stages[*].token: [dw(7)]`` is a
placement sweep, with one level per stage. A level may also be several edits under one name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..catalogue.lookup import open_spec
from ..errors import MetablockError, Span, error
from ..language import ast as e
from ..language.choices import OpenChoice, choices, chosen
from ..language.edits import parse_edits, resolve, stage_count
from ..language.methods import divided, open_method, trained_by
from ..language.parser import parse_target, parse_value, whole
from ..language.printer import show
from ..language.spec import Binding, Edit, Spec

DESIGNS = ("grid", "one_at_a_time")
MATCHES = ("macs", "params", "none")


@dataclass(frozen=True)
class Level:
    """One value of a factor: its name in tables, the edits that it makes to the base, and the method that it trains it by."""

    name: str
    edits: tuple[Edit, ...]
    method: str | None = None


@dataclass(frozen=True)
class Factor:
    """What varies, and the values it takes.

    Attributes:
        name: the slot or column, ``token``.
        levels: its values.
        sweep: of a placement sweep, the (value, stage) pair of each level; empty otherwise.
    """

    name: str
    levels: tuple[Level, ...]
    sweep: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Match:
    """How the variants' cost is matched to the base's.

    Attributes:
        by: ``macs``, ``params`` (the trainable ones) or ``none``.
        tolerance: relative difference up to which a variant counts as matched.
        scale: the columns or bindings that are scaled; by default the first usual one (``dim``, ``width`` ...).
        multiple: channels are rounded to multiples of this.
    """

    by: str = "none"
    tolerance: float = 0.05
    scale: tuple[str, ...] = ()
    multiple: int = 8


@dataclass(frozen=True)
class Study:
    """What is compared, and how.

    Attributes:
        name: of the study, in reports.
        base: a name of the catalogue, or the path of a spec.
        variant: of the base's file; by default the one that ``base`` names, or the first.
        edits: made to the base, and so to every variant.
        factors: what varies.
        design: ``one_at_a_time`` (each level by itself) or ``grid`` (all combinations).
        match: how cost is matched.
        data: a data set, as :func:`metablock.ablation.data.load_data` takes it.
        input: size of an example, ``3x128x128``; by default the data's own.
        recipe: a shipped recipe.
        overrides: values of the recipe that differ.
        seeds: one run of every variant for each of them.
        alpha: family-wise error of each of the two questions (:mod:`metablock.ablation.statistics`).
        method: trains every variant, by name or path; None: by the recipe's loss.
        margin: the smallest difference in top-1 that matters, as a share: 0.01 is one point.

    >>> Study("mixers", "poolformer_s12").resolved().name
    'metaformer'
    """

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
    method: str | None = None

    def spec(self) -> tuple[Spec, str | None]:
        """The base's spec and the name of its variant. Raises MetablockError where there is no such base."""
        spec, named = open_spec(self.base)
        return spec, self.variant or named

    def resolved(self, method: str | None = None) -> Spec:
        """The resolved spec of the base, with the study's edits and its method, or another one. Raises MetablockError.

        An edit of what only another method of the study has is left out.
        """
        spec, variant = self.spec()
        method = method or self.method
        if method is None:
            return resolve(spec, variant, self.edits)
        around = open_method(method)
        others = [edit for name in self._methods() for edit in divided(spec, open_method(name), self.edits)[0]]
        own = divided(spec, around, self.edits)[0]
        return trained_by(spec, variant, [edit for edit in self.edits if edit in own or edit not in others], around)

    def _methods(self) -> list[str]:
        levels = [level.method for factor in self.factors for level in factor.levels]
        return [name for name in (self.method, *levels) if name is not None]

    def varied(self) -> Study:
        """The study with one more factor for each choice that its base leaves open (``one_of``). Raises MetablockError."""
        spec, variant = self.spec()
        known = {factor.name for factor in self.factors}
        if (seed := repeated(self.seeds)) is not None:
            raise MetablockError(f"the seed {seed} stands twice", "keep one of the two")
        if (name := repeated(factor.name for factor in self.factors)) is not None:
            raise MetablockError(f"'{name}' varies twice", f"join the two: '{name} = value, value'")
        if not self.seeds:
            raise MetablockError("a study needs a seed", "seeds=(0, 1, 2)")
        of_methods = [edit for name in self._methods() for edit in divided(spec, open_method(name), self.edits)[0]]
        own = [edit for edit in self.edits if edit not in of_methods]
        left_open = open_factors(resolve(spec, variant, own, choose=False))
        return replace(self, factors=(*self.factors, *(factor for factor in left_open if factor.name not in known)))


def repeated(names: Iterable[Any]) -> Any:
    """The first thing that stands twice; None if all differ.

    >>> repeated(["a", "b", "a"]), repeated([1, 2])
    ('a', None)
    """
    seen: set[Any] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def parse_swap(text: str, base: Spec, name: str = "--swap") -> Factor:
    """Reads a factor as the command line takes it.

    Args:
        text: ``slot = value, value, ...``; the slot is any target of an edit.
        base: gives the number of stages for a sweep over ``stages[*]``.
        name: what messages call the text.

    Raises:
        SpecError: the text is malformed, with its place.

    >>> from metablock.front import resolved
    >>> base = resolved("poolformer_s12")
    >>> factor = parse_swap("token = pool(3), attention(dim // 32), none", base)
    >>> factor.name, [level.name for level in factor.levels]
    ('token', ['pool(3)', 'attention(dim // 32)', 'none'])
    >>> parse_swap("stages[*].token = dw(7)", base).sweep
    (('dw(7)', 0), ('dw(7)', 1), ('dw(7)', 2), ('dw(7)', 3))
    """
    span = whole(text, name)
    content = span.content
    at = next((i for i, char in enumerate(content) if char == "=" and content[i : i + 2] != "=="), -1)
    if at < 0:
        raise error("a swap is `slot = value, value, ...`", span, "for instance token = pool(3), attention(dim // 32)")
    target = _stripped(span.part(0, at))
    values = [_stripped(span.part(at + 1 + start, at + 1 + end)) for start, end in _commas(content[at + 1 :])]
    empty = next((value for value in values if not value.content), None)
    if empty is not None:
        start = empty.start - span.start
        raise error("a value is missing here", span.part(max(0, start - 1), start), "remove a comma")
    return factor(target, [(value, parse_value(value)) for value in values], base)


def factor(target: Span, values: Sequence[tuple[Span, e.Node]], base: Spec) -> Factor:
    """A factor from its target and its values, each with its place.

    ``base`` gives the number of stages for a sweep. Raises SpecError for a bad target or a repeated value.
    """
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


def method_factor(names: str) -> Factor:
    """A factor of methods, from their names or paths, separated by commas.

    >>> [level.method for level in method_factor("mae, moco_v3").levels]
    ['mae', 'moco_v3']
    """
    words = [name.strip() for name in names.split(",")]
    if not all(words) or repeated(words) is not None:
        raise MetablockError(f"'{names}' is no list of methods", "for instance --methods 'mae, moco_v3'")
    return Factor("method", tuple(Level(open_method(word).name, (), word) for word in words))


def open_factors(spec: Spec) -> tuple[Factor, ...]:
    """A factor for each slot with ``one_of`` in it; where it has several, their combinations are its levels.

    >>> from metablock.language.load import load_text
    >>> text = "name: n\\ninput: image(3, 8)\\nlet:\\n  token: one_of(pool(3), dw(7))\\nstages: {depth: 1, body: token}"
    >>> spec = load_text(text)
    >>> [(factor.name, [level.name for level in factor.levels]) for factor in open_factors(spec)]
    [('token', ['pool(3)', 'dw(7)'])]
    """
    slots: dict[str, list[OpenChoice]] = {}
    for choice in choices(spec):
        slots.setdefault(choice.slot, []).append(choice)
    factors = []
    for slot, inside in slots.items():
        levels = []
        for picks in itertools.product(*(range(len(choice.options)) for choice in inside)):
            filled = chosen(spec, {choice.name: pick for choice, pick in zip(inside, picks, strict=True)})
            name = ", ".join(show(choice.options[pick]) for choice, pick in zip(inside, picks, strict=True))
            levels.append(Level(name, (Edit(e.Header(slot), _bindings(filled)[slot].body),)))
        factors.append(Factor(slot, tuple(levels)))
    return tuple(factors)


def _bindings(spec: Spec) -> dict[str, Binding]:
    return {name: binding for table in reversed(spec.binding_tables().values()) for name, binding in table.items()}


def _stripped(span: Span) -> Span:
    content = span.content
    start = len(content) - len(content.lstrip())
    return span.part(start, max(start, len(content.rstrip())))


def _commas(content: str) -> list[tuple[int, int]]:
    """Offsets of the pieces between commas, where commas inside brackets and strings do not count."""
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
    """Edits from their texts, as ``--edit`` takes them. Raises SpecError.

    >>> len(edits_of(["token = pool(3)", "depth = [1, 1, 1, 1]"]))
    2
    """
    return parse_edits(texts)
