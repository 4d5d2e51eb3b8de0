"""Finds calls that YAML cuts at a comma: ``[pool(3, 4), id]``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...errors import Problem, Span

_CALL_MARKS = re.compile(r'["()]')
_COMMA = re.compile(r"(?:[ \r\n]+|#[^\n]*)*+,")
# What to do instead, by where the call stands.
_CUT = {
    "item": "YAML cuts it at the comma: name it in `let`, or write the list as `- ` lines",
    "key": "YAML cuts it at the comma: put the key in double quotes, or write `key: value` on a line of its own",
    "value": "YAML cuts it at the comma: name it in `let`, or write `key: value` on a line of its own",
}


@dataclass
class Calls:
    """Follows parentheses through the plain scalars of one [ ] or { }, to find calls that YAML cuts at a comma."""

    open: list[int] = field(default_factory=list)
    quoted: bool = False
    cut: Problem | None = None  # reported when the call's parenthesis is closed

    def follow(self, content: Span, place: str) -> Problem | None:
        """Reads one scalar, an `item`, a `key` or a `value` by its place. Returns the problem if it ends a cut call."""
        inside = bool(self.open)
        self.quoted = self.quoted and inside
        for mark in _CALL_MARKS.finditer(content.text.content, content.start, content.end):
            if mark[0] == '"':
                self.quoted = not self.quoted
            elif mark[0] == "(" and not self.quoted:
                self.open.append(mark.start())
            elif self.open and not self.quoted:
                self.open.pop()
        if inside:
            return None if self.open else self.cut
        if self.open and _COMMA.match(content.text.content, content.end):
            self.cut = self._problem(content, _CUT[place])
        else:  # not cut; if unbalanced, the expression's parser reports it
            self.open.clear()
        return None

    def _problem(self, content: Span, hint: str) -> Problem:
        start, text = self.open[-1], content.text
        while start > content.start and (text.content[start - 1].isalnum() or text.content[start - 1] in "_."):
            start -= 1
        words = "a call with several arguments"
        if start == self.open[-1]:
            words = "parentheses with a comma"
            hint += "" if "quotes" in hint else ", or put text in double quotes"
        return Problem(f"{words} may not stand inside [ ] or {{ }}", Span(text, start, content.end), hint)
