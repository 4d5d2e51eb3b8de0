"""Reads a text or a file into its mapping."""

from __future__ import annotations

import errno
import io
import os
import stat
import time

from ...errors import Span, SpecError, Text, error
from .characters import FORBIDDEN, forbidden
from .composer import TOO_LARGE
from .mending import Reading, compose
from .nodes import Limits, Mapping

_LIMITS = Limits()
_LOOKS = 20  # at a pipe without a writer, within a second
_ORDINARY = "a spec is ordinary text: delete it, or save the file as UTF-8 with ordinary line ends"


def read(text: Text, limits: Limits = _LIMITS) -> Mapping:
    """The mapping that a text holds. Raises SpecError with every problem.

    >>> read(Text("net.yaml", "name: net\\nstages: {depth: 2}\\n")).keys()
    ('name', 'stages')
    """
    return _faultless(read_mended(text, limits))


def _faultless(reading: Reading) -> Mapping:
    if reading.problems:
        raise SpecError(reading.problems)
    return reading.root


def read_mended(text: Text, limits: Limits = _LIMITS) -> Reading:
    """What can be read of a text, and what is wrong with it. Raises SpecError where there is no mapping to read.

    >>> reading = read_mended(Text("net.yaml", "stages: {down: [id, conv(dim, 2)]}\\nname: [a\\nhead: id\\n"))
    >>> reading.root.get("stages").get("down").items[1].value, reading.root.keys(), [span.content for span in reading.unread]
    ('conv(dim, 2)', ('stages', 'name', 'head'), [' [a'])
    >>> [problem.message for problem in reading.problems]
    ["this '[' is never closed", 'a call with several arguments may not stand inside [ ] or { }']
    """
    if text.content.startswith("\ufeff"):
        text = Text(text.name, text.content[1:])
    if len(text.content) > limits.size:
        raise error(f"the text is longer than {limits.size} characters", Span(text, 0, 1), TOO_LARGE)
    if bad := FORBIDDEN.search(text.content):
        raise error(forbidden(bad[0]), Span(text, bad.start(), bad.end()), _ORDINARY)
    return compose(text, limits)


def read_file(path: str | os.PathLike[str], limits: Limits = _LIMITS) -> Mapping:
    """The mapping that a file in UTF-8 holds. Raises SpecError: the file cannot be read, or its text has problems.

    >>> read_file("no_such.yaml")
    Traceback (most recent call last):
        ...
    metablock.errors.SpecError: there is no file 'no_such.yaml'
      check the path, relative to where you are
    """
    return _faultless(read_mended(read_text(path, limits), limits))


def read_text(path: str | os.PathLike[str], limits: Limits = _LIMITS) -> Text:
    """The text of a file in UTF-8. Raises SpecError: the file cannot be read.

    >>> from metablock.language.resources import architectures
    >>> "window" in read_text(architectures()["swin"]).content
    True
    """
    name = os.fspath(path)
    data = _load(name, limits.size)
    try:
        content = data.decode()
    except UnicodeDecodeError as bad:
        text = Text(name, data.decode(errors="replace"))
        start = len(data[: bad.start].decode())
        raise error("the file is not UTF-8 text", Span(text, start, start + 1), "save it as UTF-8") from None
    return Text(name, content)


def _load(name: str, size: int) -> bytes:
    try:
        large = os.stat(name).st_size > size
        data = b"" if large else head(name, size + 1)
    except FileNotFoundError:
        raise error(f"there is no file '{name}'", hint="check the path, relative to where you are") from None
    except IsADirectoryError:
        raise error(f"'{name}' is a directory", hint="name a .yaml file in it") from None
    except (OSError, ValueError) as bad:  # ValueError: no path at all (it has a NUL)
        reason = bad.strerror if isinstance(bad, OSError) else "this is not a path"
        raise error(f"cannot read '{name}': {reason}", hint="check the path and its permissions") from None
    if large or len(data) > size:
        raise error(f"'{name}' is larger than {size} bytes", hint=TOO_LARGE)
    return data


def head(name: str, size: int) -> bytes:
    """The first bytes of a file, at most ``size``. Raises OSError, also for a pipe to which nobody writes."""
    with open(name, "rb", buffering=0, opener=_without_waiting) as file:
        first = _from_pipe(file, size) if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode) else b""
        os.set_blocking(file.fileno(), True)
        with io.BufferedReader(file) as whole:
            return first + whole.read(size - len(first))  # the size of a device or a pipe is unknown beforehand


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _from_pipe(file: io.FileIO, size: int) -> bytes:
    """What a pipe's writer has written so far, perhaps nothing. A pipe without a writer is given a second to get one."""
    for _ in range(_LOOKS):
        first = file.read(size)
        if first is None:
            return b""  # there is a writer, who is slow
        if first:
            return first
        time.sleep(1 / _LOOKS)
    raise OSError(errno.EPIPE, "nobody writes to this pipe")
