"""The page of one operator: its signature, its text, its arguments one by one, where it is used."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import groupby

from ..report.name_models import ArgumentText, OperatorText

_MARGIN = "  "


def operator_page(text: OperatorText, width: int) -> Iterator[str]:
    """The lines of a page, none longer than ``width`` unless a word or a line of code is.

    >>> from metablock.report.operators import operator_text
    >>> list(operator_page(operator_text("quick_gelu"), 80))[:3]
    ['quick_gelu', '', "`x * sigmoid(1.702 x)`, CLIP's, in any layout."]
    """
    yield from _wrapped(text.signature, width, "", "    ")
    if text.definition is not None:
        yield from ("", "a standard binding:", *(_MARGIN + line for line in text.definition.splitlines()))
    paragraphs = [*([] if text.definition is not None else [text.doc]), *text.details, *text.sources]
    for paragraph in paragraphs:
        yield ""
        yield from _wrapped(_plain(paragraph), width)
    if text.arguments:
        yield from ("", "arguments")
        for _, group in groupby(
            text.arguments, lambda argument: (argument.text or argument.name, argument.takes, argument.admits)
        ):
            yield from _arguments(list(group), width)
    if text.takes is not None:
        yield from ("", "layouts")
        yield from _wrapped(f"in: {_plain(text.takes)}", width, _MARGIN, _MARGIN * 3)
        yield from _wrapped(f"out: {_plain(text.gives or '')}", width, _MARGIN, _MARGIN * 3)
        yield from _wrapped(_plain(text.returns or ""), width, _MARGIN * 3, _MARGIN * 3)
    if text.errors:
        yield from ("", "errors")
        for error in text.errors:
            yield from _wrapped(_plain(error), width, _MARGIN, _MARGIN * 2)
    if text.examples:
        yield from ("", "examples")
        for example in text.examples:
            first, *more = example.code.splitlines()
            yield from (f"{_MARGIN}>>> {first}", *(f"{_MARGIN}... {line}" for line in more))
            yield from (_MARGIN + line for line in example.output.splitlines())
    yield from _entry("standard bindings that use it", ", ".join(text.bindings), width)
    if text.papers:
        yield from ("", "papers that use it")
        for use in text.papers:
            yield from _wrapped(f"{use.file}: {', '.join(use.slots)}", width, _MARGIN, _MARGIN * 2)
            if use.paper:
                yield from _wrapped(use.paper, width, _MARGIN * 2, _MARGIN * 2)
    yield from _entry("source", text.place or "", width)
    yield from _entry("similar names", ", ".join(text.similar), width)


def _arguments(group: list[ArgumentText], width: int) -> Iterator[str]:
    """Arguments that one text describes, with their defaults and the values that they take."""
    names = ", ".join(one.name if one.default is None else f"{one.name}={one.default}" for one in group)
    kinds = " or ".join(kind for kind in group[0].takes if kind != "none")
    admits = f", {group[0].admits}" if group[0].admits else ""
    yield from _wrapped(f"{names}: {kinds}{admits}" if kinds else names, width, _MARGIN, _MARGIN * 3)
    if group[0].text:
        yield from _wrapped(_plain(group[0].text), width, _MARGIN * 3, _MARGIN * 3)


def _entry(head: str, text: str, width: int) -> Iterator[str]:
    if text:
        yield ""
        yield from _wrapped(f"{head}: {text}", width, "", _MARGIN)


def _wrapped(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    """Lines of at most ``width``; a name or a word stays whole."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _plain(text: str) -> str:
    return re.sub(r":\w+:(?=`)", "", text.replace("``", "`"))
