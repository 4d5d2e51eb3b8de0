"""Which weight rules fit a name of some network: those that fit none are mistakes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice

from ...errors import MAX_OPTIONS, MAX_WORD, Problem, SpecError
from ..budget import spend
from ..spec import Spec
from . import NetworkFacts, read_rules
from .levels import MOST, level_hint
from .reading import name_part
from .rule import REST, ReadyRule

_LETTERS = ("i", "j", "k", "l", "m")  # for the numbers that a rule has no letters for
_NEAR = 0.3  # the likeness from which a name is suggested
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


class WeightRuleUse:
    """The rules of a file's `weights:` tables, and which of them fit the names that were seen.

    A rule serves if it fits a name, or the rest of one that a `**` rule leaves, in its own table or one that starts from it.
    Tables with other mistakes are left out.

    >>> from metablock.language.load import load_text
    >>> net = "name: n\\ninput: image(3, 32)\\nmodel: pw(8)\\nweights: {timm: {conv.*: c.*, cnv.weight: c.w}}\\n"
    >>> use = WeightRuleUse(load_text(net))
    >>> use.see(NetworkFacts(names=("conv.weight", "conv.bias")))
    >>> [(problem.message, problem.hint) for problem in use.problems()]
    [('no network of this file has a parameter that `cnv.weight` fits', 'did you mean `conv.weight`?')]
    """

    def __init__(self, spec: Spec):
        self._tables: list[_Table] = []
        for name in spec.weights:
            try:
                self._tables.append(_Table(read_rules(spec, name).rules))
            except SpecError:
                continue

    def see(self, network: NetworkFacts) -> None:
        """Notes a network: the names of its state dict, and what tests may ask."""
        for table in self._tables:
            table.see(network)

    def problems(self) -> list[Problem]:
        """A problem for each rule that fits none of the names."""
        serving = {_place(rule) for table in self._tables for rule in table.rules if id(rule) not in table.waiting}
        dead = {
            _place(rule): _dead(rule, table.seen, near=at < MOST)
            for table in self._tables
            for at, rule in enumerate(table.waiting.values())
            if _place(rule) not in serving
        }
        return list(dead.values())


class _Table:
    """The rules of one table and of those it starts from; those that fit nothing so far; all names and rests so far."""

    def __init__(self, rules: Sequence[ReadyRule]):
        self.rules = rules
        self.waiting = {id(rule): rule for rule in rules}
        self.seen: dict[str, None] = {}

    def see(self, network: NetworkFacts) -> None:
        """Tries new names and what `**` rules leave of them, on the rules that wait and on those with `**`.

        Rules with a test are tried on all names of each network: what holds in one may not in another.
        """
        if any(rule.test is not None for rule in self.waiting.values()):
            self._try_tests(network)
        new = [name for name in network.names if name not in self.seen]
        self.seen |= dict.fromkeys(new)
        tried = self._tried()
        while new and self.waiting:
            name = new.pop()
            spend(1 + len(tried) // 4)
            before = len(self.waiting)
            for rule in tried:
                match = rule.pattern.fullmatch(name)
                if match is None:
                    continue
                if rule.test is None:
                    self.waiting.pop(id(rule), None)
                rest = match.groupdict().get(REST, "")
                if rule.deep and rest not in self.seen:
                    self.seen[rest] = None
                    new.append(rest)
            if len(self.waiting) < before:
                tried = self._tried()

    def _try_tests(self, network: NetworkFacts) -> None:
        """Tries the rules with tests that wait, behind `**` rules too. One whose test has no meaning here waits on."""
        deep = [rule for rule in self.rules if rule.deep]
        for name in network.names:
            rests = [name]
            for rest in rests:  # grows
                spend(1 + len(deep) // 4)
                matches = (rule.pattern.fullmatch(rest) for rule in deep)
                rests += [match[REST] for match in matches if match is not None and match[REST] not in rests]
            for rule in [rule for rule in self.waiting.values() if rule.test is not None]:
                with suppress(SpecError):
                    if any(rule.fit(rest, network, name) is not None for rest in rests):
                        del self.waiting[id(rule)]

    def _tried(self) -> list[ReadyRule]:
        return [rule for rule in self.rules if rule.deep or (id(rule) in self.waiting and rule.test is None)]


def _dead(rule: ReadyRule, seen: Iterable[str], near: bool) -> Problem:
    """What is said of a rule that serves nowhere. ``near``: names that differ by a level are looked for."""
    if rule.test is not None and any(rule.pattern.fullmatch(name) for name in seen):
        message = f"the test of `{rule.text}` holds for no parameter of any network of this file"
        return Problem(message, rule.span, "take the rule out, or write another test")
    message = f"no network of this file has a parameter that `{rule.text}` fits"
    left = name_part(rule.text)
    return Problem(message, rule.span, (level_hint(left, seen) if near else None) or _hint(left, seen))


def _place(rule: ReadyRule) -> tuple[object, ...]:
    """The same for one rule in several tables."""
    return (rule.text,) if rule.span is None else (rule.span.text.name, rule.span.start)


def _hint(text: str, names: Iterable[str]) -> str:
    """The name that a rule may mean, as a left side: with its braces for numbers, and its `*`."""
    letters = re.findall(r"\{\s*(\w+)\s*\}", text)
    forms = dict.fromkeys(_NUMBER.sub("#", name) for name in names)
    if text.endswith("*"):
        forms = dict.fromkeys(form.rpartition(".")[0] + "." + text[len(text.rstrip("*")) :] for form in forms if "." in form)
    options = [_lettered(form, letters) for form in islice(forms, MAX_OPTIONS)]
    near = max(options, key=lambda option: _likeness(text, option), default=None)
    if near is None or _likeness(text, near) < _NEAR:
        return "no name is like it: take the rule out, or write a name of ours"
    return f"did you mean `{near}`?"


def _lettered(form: str, letters: Sequence[str]) -> str:
    rest = iter([*letters, *(letter for letter in _LETTERS if letter not in letters)])
    return re.sub("#", lambda _: f"{{{next(rest, 'n')}}}", form)


def _likeness(text: str, option: str) -> float:
    """From 0 to 1: half for the parts that both begin with, half for the letters that both have after these."""
    a, b = text[:MAX_WORD].split("."), option[:MAX_WORD].split(".")
    same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest = difflib.SequenceMatcher(None, ".".join(a[same:]), ".".join(b[same:])).ratio()
    return (same / max(len(a), len(b)) + rest) / 2
