"""Pairs of names as few rules: numbers become letters, equal ends a `*`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...language.spec import Rule
from .numbers import Row, follows
from .pairing import NamePair

_LETTERS = "ijklmn"
_NUMBER = re.compile(r"\d+")
_WHOLE = re.compile(r"(?:(?<=\.)|^)\d+(?=\.|$)")  # a number that is a part of a name by itself
_TRAILING = re.compile(r"(?<=[a-z_])\d+(?=[.*]|$)")  # a number at the end of a word
_HOLE = "#"


@dataclass(frozen=True)
class _Entry:
    """A rule for one name, or for all that end in its `*`: with the numbers as they are."""

    ours: str
    theirs: str
    steps: str


@dataclass(frozen=True)
class _Case:
    """An entry taken apart: forms with holes, and the numbers that stood there."""

    form: str
    numbers: Row
    there: str
    there_numbers: Row


def rules_of(pairs: Sequence[NamePair], blocks: Sequence[int], merge: bool = True) -> list[Rule]:
    """Rules that give each pair, the more specific first.

    Args:
        pairs: what they should give.
        blocks: the number of blocks of each stage.
        merge: whether rules that differ by a number at the end of a word, or by the same end on both sides, become one.

    >>> pairs = [NamePair(f"stages.0.blocks.{i}.norm.{w}", (f"h.{i}.ln.{w}",)) for i in range(3) for w in ("weight", "bias")]
    >>> [(rule.ours, rule.theirs) for rule in rules_of(pairs, [3])]
    [('stages.0.blocks.{i}.norm.*', 'h.{i}.ln.*')]
    """
    cases: dict[str, list[_Case]] = {}
    for entry in _entries(pairs):
        right = entry.theirs + (f" | {entry.steps}" if entry.steps else "")
        steps_at = len(entry.theirs)
        there = _NUMBER.sub(_HOLE, right[:steps_at]) + right[steps_at:]
        case = _Case(
            _WHOLE.sub(_HOLE, entry.ours),
            tuple(map(int, _WHOLE.findall(entry.ours))),
            there,
            tuple(map(int, _NUMBER.findall(right[:steps_at]))),
        )
        cases.setdefault(case.form, []).append(case)
    rules = [rule for form, rows in cases.items() for rule in _cover(form, rows, blocks)]
    return _sorted(_ended(_sorted(_lettered(rules)))) if merge else _sorted(rules)


def exact(pairs: Sequence[NamePair]) -> list[Rule]:
    """A rule for each pair."""
    return [Rule(one.ours, _joined(one.theirs, one.each) + (f" | {one.whole}" if one.whole else "")) for one in pairs]


def _entries(pairs: Sequence[NamePair]) -> Iterable[_Entry]:
    """The pairs; those of one layer that have the same ends on both sides, and the same steps, as one."""
    modules: dict[str, list[NamePair]] = {}
    for one in pairs:
        modules.setdefault(one.ours.rpartition(".")[0], []).append(one)
    for module, group in modules.items():
        starred = {_starred(one) for one in group}
        if module and len(starred) == 1 and (entry := starred.pop()) is not None:
            yield entry
            continue
        for one in group:
            yield _Entry(one.ours, _joined(one.theirs, one.each), one.whole)


def _starred(one: NamePair) -> _Entry | None:
    module, _, last = one.ours.rpartition(".")
    if not all(name.endswith(f".{last}") for name in one.theirs) or not last.isidentifier():
        return None
    theirs = [name.removesuffix(last) + "*" for name in one.theirs]
    return _Entry(f"{module}.*", _joined(theirs, one.each), one.whole)


def _joined(names: Sequence[str], each: str) -> str:
    return " ++ ".join(f"({name} | {each})" if each else name for name in names)


def _cover(form: str, rows: Sequence[_Case], blocks: Sequence[int]) -> list[Rule]:
    """Rules for names of one form: one for all, or for as many as one can say, and others for the rest before it."""
    rule = _rule(form, rows, blocks)
    if rule is not None:
        return [rule]
    options: list[list[Rule]] = []
    for at in range(len(rows[0].numbers)):
        values = sorted({row.numbers[at] for row in rows})
        for part in [values[:-1], values[1:]] if len(values) > 2 else []:
            inside = [row for row in rows if row.numbers[at] in part]
            most = _rule(form, inside, blocks)
            if most is not None:
                outside = [row for row in rows if row.numbers[at] not in part]
                options.append([*_cover(form, outside, blocks), most])
    if not options:
        for at in range(len(rows[0].numbers)):
            values = sorted({row.numbers[at] for row in rows})
            if len(values) > 1:
                parts = [[row for row in rows if row.numbers[at] == value] for value in values]
                options.append([rule for part in parts for rule in _cover(form, part, blocks)])
    return min(options, key=len)


def _rule(form: str, rows: Sequence[_Case], blocks: Sequence[int]) -> Rule | None:
    """One rule for all rows; None if there is none."""
    if len({row.there for row in rows}) > 1:
        return None
    columns = list(zip(*(row.numbers for row in rows), strict=True))
    free = iter(_LETTERS)
    letters = [next(free, "") if len(set(column)) > 1 else "" for column in columns]
    if any(not letter and len(set(column)) > 1 for letter, column in zip(letters, columns, strict=True)):
        return None
    texts = []
    for column in zip(*(row.there_numbers for row in rows), strict=True):
        text = follows([row.numbers for row in rows], column, letters, blocks, _stage_and_block(form))
        if text is None:
            return None
        texts.append(text if text.isdigit() else f"{{{text}}}")
    ours = _fill(form, [f"{{{letter}}}" if letter else str(column[0]) for letter, column in zip(letters, columns, strict=True)])
    return Rule(ours, _fill(rows[0].there, texts))


def _stage_and_block(form: str) -> tuple[int, int] | None:
    return (0, 1) if re.match(rf"stages\.{_HOLE}(\.[a-z]\w*)?\.blocks\.{_HOLE}", form) else None


def _fill(form: str, texts: Sequence[str]) -> str:
    rest = iter(texts)
    return re.sub(_HOLE, lambda _: next(rest), form)


def _lettered(rules: Sequence[Rule]) -> list[Rule]:
    """Rules that differ by one number at the end of a word (`norm1`, `norm2`) as one."""
    result = list(rules)
    for rule in rules:
        if rule not in result:
            continue
        for match in _TRAILING.finditer(rule.ours):
            merged = _merged(rule, match, result[result.index(rule) :])
            if merged is not None:
                one, gone = merged
                result[result.index(rule)] = one
                result = [other for other in result if other not in gone]
                break
    return result


def _merged(rule: Rule, match: re.Match[str], others: Sequence[Rule]) -> tuple[Rule, list[Rule]] | None:
    """The rule with a letter for a number, and those it stands for; None if it stands for no other."""
    letter = next((letter for letter in "klmn" if f"{{{letter}}}" not in rule.ours), None)
    if letter is None:
        return None
    start, end = match.span()
    head, tail, number = rule.ours[:start], rule.ours[end:], int(match[0])
    for there in _TRAILING.finditer(rule.theirs):
        before, after, base = rule.theirs[: there.start()], rule.theirs[there.end() :], int(there[0])
        gone = []
        for other in others:
            n = other.ours[len(head) : len(other.ours) - len(tail)]
            same = other.ours.startswith(head) and other.ours.endswith(tail) and n.isdigit()
            if same and other.theirs == f"{before}{int(n) + base - number}{after}":
                gone.append(other)
        if len(gone) > 1:
            shift = base - number
            text = letter if not shift else f"{letter} + {shift}" if shift > 0 else f"{letter} - {-shift}"
            return Rule(f"{head}{{{letter}}}{tail}", f"{before}{{{text}}}{after}"), [one for one in gone if one is not rule]
    return None


def _ended(rules: Sequence[Rule]) -> list[Rule]:
    """Rules that end alike on both sides, behind the same beginnings, as one: `a.x.*: b.x.*`, `a.y.*: b.y.*` as `a.*: b.*`."""
    starts: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        if "|" in rule.theirs or "++" in rule.theirs:
            continue
        one, other = rule.ours.split("."), rule.theirs.split(".")
        same = 0
        while same < min(len(one), len(other)) - 1 and one[-1 - same] == other[-1 - same]:
            same += 1
        if same:
            starts.setdefault((".".join(one[:-same]), ".".join(other[:-same])), []).append(rule)
    result = list(rules)
    for (ours, theirs), group in starts.items():
        if len(group) > 1 and set(re.findall(r"\{(\w)\}", theirs)) <= set(re.findall(r"\{(\w)\}", ours)):
            result[result.index(group[-1])] = Rule(f"{ours}.*", f"{theirs}.*")
            result = [rule for rule in result if not any(rule is one for one in group)]
    return result


def _sorted(rules: Sequence[Rule]) -> list[Rule]:
    """The rules in their order, but one whose `*` would take what others say behind them."""
    result = list(rules)
    for rule in rules:
        if not rule.ours.endswith("*"):
            continue
        start = re.sub(r"\{\w\}", "0", rule.ours[:-1])
        later = [
            at for at, other in enumerate(result) if other is not rule and re.sub(r"\{\w\}", "0", other.ours).startswith(start)
        ]
        at = result.index(rule)
        if later and max(later) > at:
            result.insert(max(later) + 1, rule)
            del result[at]
    return result


__all__ = ["exact", "rules_of"]
