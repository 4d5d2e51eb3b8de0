"""The world outside metablock: packages that may be missing, and exceptions of others in one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import MetablockError, install_hint


def require(module: str, message: str, extra: str = "ablate") -> None:
    """Checks that an optional package can be imported.

    Args:
        module: the name it is imported by.
        message: what needs which package, for instance ``pictures need pillow``.
        extra: the extra of metablock that installs it.

    Raises:
        MetablockError: it is not installed.

    >>> require("json", "recipes need json")
    >>> require("no_such_package", "sketches need no_such_package")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: sketches need no_such_package
      from a checkout: pip install '.[ablate]'
    """
    if importlib.util.find_spec(module) is None:
        raise MetablockError(message, install_hint(extra))


def expanded(path: str) -> Path:
    """A path whose ``~`` stands for a home folder, as a shell has it; a shell leaves one behind a colon as it is.

    >>> expanded("~/pictures") == Path.home() / "pictures", expanded("a/~b")
    (True, PosixPath('a/~b'))
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such person
        return Path(path)


def first_line(problem: BaseException) -> str:
    r"""The first line of an exception's text; the name of its class where it has no text.

    >>> first_line(ValueError("no such axis\nsee the manual")), first_line(TimeoutError())
    ('no such axis', 'TimeoutError')
    """
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
