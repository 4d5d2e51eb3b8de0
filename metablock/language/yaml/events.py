"""PyYAML's events, without what a spec may not use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner
from yaml.tokens import TagToken

from ...errors import Text

Report: TypeAlias = Callable[[str, int, int, str], object]  # message, start, end, hint

_TAG = re.compile(r"!(?:<[^>\s\0]*>?|[^\s,\[\]{}\0]*)")  # the scanner's buffer ends with \0


class Events(Reader, Scanner, Parser):
    """PyYAML's parser without tags and directives. ``last`` is the last token taken, which events do not hold."""

    def __init__(self, text: Text, report: Report, stop: Report) -> None:
        self.report = report
        self.stop = stop
        self.last: Any = None
        Reader.__init__(self, text.content)
        Scanner.__init__(self)
        Parser.__init__(self)

    def __iter__(self) -> Iterator[Any]:
        while (event := self.get_event()) is not None:  # type: ignore[no-untyped-call]  # the stubs leave it open
            yield event

    def get_token(self) -> Any:
        self.last = super().get_token()  # type: ignore[no-untyped-call]
        return self.last

    def fetch_tag(self) -> None:
        """Reports a tag and reads on as if it were `!`, which means nothing."""
        tag = _TAG.match(self.buffer, self.pointer)
        length = len(tag[0]) if tag else 1
        self.report("YAML tags are not allowed", self.index, self.index + length, "a spec is plain data: remove the tag")
        self.save_possible_simple_key()
        self.allow_simple_key = False
        start = self.get_mark()
        self.forward(length)
        self.tokens.append(TagToken((None, "!"), start, self.get_mark()))

    def fetch_directive(self) -> None:
        hint = "remove the line, or indent it if it continues a value"
        self.stop("a line may not begin with '%' (YAML's directives)", self.index, self.index + 1, hint)
