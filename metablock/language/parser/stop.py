"""Where the parser stopped: the words before the place, and the brackets that are open there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

# The words of the grammar's lexer; every other character is a word of its own.
_WORDS = re.compile(r'"[^"\n]*"|#[^\n]*|[A-Za-z_][A-Za-z0-9_]*|[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|->|>>|\|\||\*\*|//|[=!<>]=|\S')
LANGUAGE = ("if", "else", "for", "in", "and", "or", "not", "return")
OPENS = {")": "(", "]": "["}


@dataclass(frozen=True)
class WordAt:
    text: str
    start: int
    depth: int  # of brackets around it

    @property
    def ends_operand(self) -> bool:
        """Whether a value may end with this word."""
        begins = self.text[0]
        return begins in ")]" or ((begins.isalnum() or begins in '_"') and self.text not in LANGUAGE)


@dataclass(frozen=True)
class Stop:
    """Where the parser stopped: the word it could not use (empty at the end of the text), and the words before it."""

    text: str
    start: int
    word: str
    what: str  # the grammar's start symbol: value, header, target, edit

    @cached_property
    def words(self) -> list[WordAt]:
        """The words before the place, without comments."""
        words: list[WordAt] = []
        depth = 0
        for match in _WORDS.finditer(self.text, 0, self.start):
            if match[0].startswith("#"):
                continue
            depth -= match[0] in OPENS
            words.append(WordAt(match[0], match.start(), depth))
            depth += match[0] in ("(", "[")
        return words

    @cached_property
    def open(self) -> list[WordAt]:
        """The brackets that are open at the place."""
        stack: list[WordAt] = []
        for word in self.words:
            if word.text in ("(", "["):
                stack.append(word)
            elif word.text in OPENS and stack:
                stack.pop()
        return stack

    @property
    def last(self) -> str:
        return self.words[-1].text if self.words else ""

    @property
    def after_operand(self) -> bool:
        return bool(self.words) and self.words[-1].ends_operand

    def outside(self, *texts: str) -> WordAt | None:
        """The last of these words outside all brackets."""
        return next((word for word in reversed(self.words) if not word.depth and word.text in texts), None)

    @cached_property
    def group(self) -> WordAt | None:
        """The innermost open bracket, if it is a parenthesis around an expression: not that of a call."""
        if not self.open or self.open[-1].text != "(":
            return None
        place = next(at for at, word in enumerate(self.words) if word.start == self.open[-1].start)
        return None if place and self.words[place - 1].ends_operand else self.open[-1]

    def inside(self, *texts: str) -> WordAt | None:
        """The last of these words directly inside the innermost open parenthesis around an expression."""
        if self.group is None:
            return None
        words = [word for word in self.words if word.start > self.group.start and word.depth == len(self.open)]
        return next((word for word in reversed(words) if word.text in texts), None)

    def beside(self, *texts: str) -> WordAt | None:
        """The last of these words inside the same brackets and the same argument or line."""
        start, depth = (self.open[-1].start if self.open else -1), len(self.open)
        for word in reversed(self.words):
            if word.start <= start or (word.depth == depth and word.text in (",", "=", "return", "->")):
                return None
            if word.depth == depth and word.text in texts:
                return word
        return None
