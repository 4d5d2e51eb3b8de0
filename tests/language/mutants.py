"""Files with one token of one expression dropped, doubled, or changed for its neighbour."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from metablock.errors import Span, Text
from metablock.language.yaml import Mapping, Node, Scalar, Sequence, read

TOKEN = re.compile(r'"[^"\n]*"|[A-Za-z_]\w*|[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|->|>>|\|\||\*\*|//|[=!<>]=|[^\s#]')
WORDS = ("name", "paper", "weights", "facts")  # sections without expressions


@dataclass(frozen=True)
class Mutant:
    """What was done, and the file's text afterwards."""

    done: str
    text: str


def mutants(content: str, name: str, count: int, seed: int = 0) -> list[Mutant]:
    """A sample of them, or all where there are no more than ``count``."""
    root = read(Text(name, content))
    places = [place for key, value in root.entries if key.value not in WORDS for place in _tokens(value)]
    every = [(place, how) for place in places for how in ("drop", "double", "swap")]
    chosen = Random(seed).sample(every, min(count, len(every)))
    return [_mutant(content, place, how, places) for place, how in chosen]


def _mutant(content: str, place: Span, how: str, places: list[Span]) -> Mutant:
    token = place.content
    other = places[(places.index(place) + 1) % len(places)].content
    new = {"drop": "", "double": f"{token} {token}", "swap": other}[how]
    line, column = place.text.place(place.start)
    return Mutant(f"{line}:{column}: {how} {token!r}", content[: place.start] + new + content[place.end :])


def _tokens(node: Node) -> Iterator[Span]:
    if isinstance(node, Scalar):
        for span in (node.content,):
            text = re.sub(r"#[^\n]*", lambda comment: " " * len(comment[0]), span.content)
            yield from (span.part(*match.span()) for match in TOKEN.finditer(text))
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from _tokens(item)
    elif isinstance(node, Mapping):
        for key, value in node.entries:
            yield from _tokens(key)
            yield from _tokens(value)
