"""Wraps long lines of Python at their brackets."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

WIDTH = 120
_OPEN, _CLOSE = "([{", ")]}"


def wrapped(text: str) -> list[str]:
    """The lines of a text, wrapped at :data:`WIDTH` where brackets or blanks allow.

    >>> wrapped("x = [1, 2]")
    ['x = [1, 2]']
    """
    return [line for whole in text.split("\n") for line in _wrap(whole)]


def _wrap(line: str) -> list[str]:
    if len(line) <= WIDTH:
        return [line]
    bare = line.strip()
    space = line[: len(line) - len(line.lstrip())]
    if bare.startswith("# "):
        return _prose(bare.removeprefix("# "), f"{space}# ")
    if bare.startswith('"""'):
        return [f'{space}"""', *_prose(bare.strip('"'), space), f'{space}"""']
    code, mark, comment = line.partition("  # ")
    if mark:
        return [*_wrap(f"{space}# {comment}"), *_wrap(code.rstrip())]
    pair = max(_pairs(line), key=lambda pair: pair[1] - pair[0], default=None)
    if pair is None or pair[1] - pair[0] < 2:
        return [line]
    start, stop = pair
    inner, tail = line[start + 1 : stop], line[stop:]
    deeper = f"{space}    "
    parts = list(_split(inner))
    if len(deeper + inner.strip()) <= WIDTH and line[start] != "[":
        body = [deeper + inner.strip()]
    elif len(parts) == 1:
        body = [below for clause in _clauses(inner.strip()) for below in _wrap(deeper + clause)]
    elif all(_number(part) for part in parts):
        body = _filled(parts, deeper)
    else:
        body = [below for part in parts for below in _wrap(f"{deeper}{part},")]
    return [line[: start + 1], *body, *_wrap(space + tail)]


def _prose(text: str, before: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=before, subsequent_indent=before, break_on_hyphens=False)


def _pairs(line: str) -> Iterator[tuple[int, int]]:
    """The positions of the outermost pairs of brackets."""
    depth, start, quote = 0, 0, ""
    for at, char in enumerate(line):
        if quote or char in "\"'":
            quote = char if not quote else "" if char == quote else quote
        elif char in _OPEN:
            start = at if depth == 0 else start
            depth += 1
        elif char in _CLOSE and depth > 0:  # a line may begin with the end of a bracket
            depth -= 1
            if depth == 0:
                yield start, at


def _split(inner: str) -> Iterator[str]:
    """The parts between commas; a comprehension is one part."""
    depth, start, quote = 0, 0, ""
    cuts = []
    for at, char in enumerate(inner):
        if quote or char in "\"'":
            quote = char if not quote else "" if char == quote else quote
        elif char in _OPEN + _CLOSE:
            depth += 1 if char in _OPEN else -1
        elif depth == 0 and char == ",":
            cuts.append(at)
        elif depth == 0 and inner.startswith(" for ", at):
            yield inner.strip()
            return
    for cut in [*cuts, len(inner)]:
        if inner[start:cut].strip():
            yield inner[start:cut].strip()
        start = cut + 1


def _clauses(inner: str) -> Iterator[str]:
    """A comprehension as its element and its loop; anything else as it stands."""
    spans = list(_pairs(inner))
    at = inner.find(" for ")
    while at >= 0 and any(start < at < stop for start, stop in spans):
        at = inner.find(" for ", at + 1)
    yield from [inner] if at < 0 else [inner[:at], inner[at + 1 :]]


def _number(part: str) -> bool:
    return part.replace(".", "").replace("e-", "").replace("-", "").isdigit()


def _filled(parts: list[str], indent: str) -> list[str]:
    """Lines with as many parts as fit."""
    lines = [indent]
    for part in parts:
        if len(lines[-1]) + len(part) + 2 > WIDTH:
            lines.append(indent)
        lines[-1] += f"{part}, "
    return [line.rstrip() for line in lines]
