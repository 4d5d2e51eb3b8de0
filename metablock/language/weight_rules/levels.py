"""Names that a rule misses by one level: `channel.mlp.linear1` where the slot is one call, `channel.linear1`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ...errors import MAX_OPTIONS

# So many rules of a table are looked at: comparing names takes time.
MOST = 20
NO_LEVEL = "a slot that is one name or one call adds no level for it"
A_LEVEL = "in a chain, a sum or an argument every operator adds a level"


def level_hint(text: str, names: Iterable[str]) -> str | None:
    """What a left side that fits no name should be, if it differs from some name by one level; None if it does not.

    >>> level_hint("blocks.{i}.channel.mlp.linear{k}.*", ["blocks.0.channel.linear1.weight"])
    'did you mean `blocks.{i}.channel.linear{k}.*`? a slot that is one name or one call adds no level for it'
    >>> level_hint("blocks.{i}.channel.linear{k}.*", ["blocks.0.channel.mlp.linear1.weight"])
    'did you mean `blocks.{i}.channel.mlp.linear{k}.*`? in a chain, a sum or an argument every operator adds a level'
    """
    names = list(islice(names, MAX_OPTIONS))
    for shorter in without_one(text.split(".")):
        pattern = _pattern(".".join(shorter))
        if any(pattern.fullmatch(name) for name in names):
            return f"did you mean `{'.'.join(shorter)}`? {NO_LEVEL}"
    parts, pattern = text.split("."), _pattern(text)
    fixed = next((at for at, part in enumerate(parts) if "*" in part), len(parts))
    for name in names:
        levels = name.split(".")
        for at, level in enumerate(levels[: fixed + 1]):
            if level.isidentifier() and pattern.fullmatch(".".join([*levels[:at], *levels[at + 1 :]])):
                return f"did you mean `{'.'.join([*parts[:at], level, *parts[at:]])}`? {A_LEVEL}"
    return None


def without_one(parts: Sequence[str]) -> Iterator[list[str]]:
    """A path without one of its words, each in turn, the first at last; never without its end: an operator, and a `*`."""
    end = len(parts) - (2 if "*" in parts[-1] else 1)
    for at in [*range(1, end), 0]:
        if end > 1 and parts[at].isidentifier():
            yield [*parts[:at], *parts[at + 1 :]]


def _pattern(text: str) -> re.Pattern[str]:
    """A left side as a regular expression, whatever its numbers are called."""
    pieces = re.split(r"(\{[^{}]*\}|\*+)", text)
    return re.compile("".join(r"\d++" if p[:1] == "{" else ".+" if p[:1] == "*" else re.escape(p) for p in pieces))
