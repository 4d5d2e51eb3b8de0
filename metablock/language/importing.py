"""Imports modules of other people, and says where in them an import failed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import MetablockError
from .loaded import INSTALLED

_OURS = Path(__file__).parents[1]


def import_source(source: str) -> Any:
    """The module of a dotted name, or of the path of a file; it runs the module's code.

    Raises MetablockError: there is no such module or file. What the module raises goes through.

    >>> import_source("json").__name__
    'json'
    >>> import_source("./nowhere.py")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: there is no file 'nowhere.py' for a plugin
      check the path, relative to where you are; a plugin is a .py file
    """
    path = Path(source)
    if path.suffix == ".py" or os.sep in source:
        return _import_file(path)
    if not all(map(str.isidentifier, source.split("."))):
        raise MetablockError(
            f"'{_short(source)}' is no name of a module for a plugin", "a dotted name, or the path of a file: ./my.py"
        )
    try:
        exists = importlib.util.find_spec(source) is not None
    except (ImportError, ValueError):  # a parent is missing
        exists = False
    top = Path(source.split(".")[0])
    if not exists and (_is(top, stat.S_ISDIR) or _is(top.with_suffix(".py"))) and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a console script's path lacks the working directory
        return import_source(source)
    if not exists:
        hint = f"give its dotted name, or the path of its file: ./{_short(source)}.py"
        raise MetablockError(f"there is no module '{_short(source)}' for a plugin", hint)
    return importlib.import_module(source)


def _import_file(path: Path) -> Any:
    if not _is(path):
        message = f"there is no file '{_short(str(path))}' for a plugin"
        raise MetablockError(message, "check the path, relative to where you are; a plugin is a .py file")
    name, file = path.stem, str(path.resolve())
    if not name.isidentifier():
        raise MetablockError(f"{path}: '{name}' is no name of a module", "letters, digits, underscores")
    known = sys.modules.get(name)
    other = getattr(known, "__file__", None) if known else getattr(importlib.util.find_spec(name), "origin", None)
    if (known or other) and os.path.realpath(str(other)) != file:
        raise MetablockError(f"{path}: there is another module '{name}' already", "give the file another name")
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise MetablockError(f"{path}: this is no Python file", "its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the builder and pickle look the class up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is(path: Path, kind: Callable[[int], bool] = stat.S_ISREG) -> bool:
    """Whether something of a kind stands at a path, which may be none: too long, with a NUL, a link to itself."""
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _short(name: str) -> str:
    return name if len(name) <= 100 else f"{name[:60]}..."


def guarded(do: Callable[[], Any], what: str) -> Any:
    """Runs foreign code.

    Args:
        do: runs it.
        what: of it, for the message.

    Raises:
        MetablockError: it raised an exception, or ended the process; with the last of its own lines that ran.

    >>> guarded(lambda: 1, "the number")
    1
    """
    try:
        return do()
    except (MetablockError, KeyboardInterrupt):
        raise
    except BaseException as wrong:
        place, text = _own_place(wrong), _first_line(wrong)
        kind = type(wrong).__name__
        ending = isinstance(wrong, (SystemExit, GeneratorExit))
        hint = "it ends the process: take that out of what runs at import" if ending else f"{kind}: {text}" if text else kind
        raise MetablockError(f"{place}{what} cannot be imported", hint) from None


def _own_place(wrong: BaseException) -> str:
    """``file:line: `` of the last line of its own that foreign code ran: no line of Python's library, of torch, of ours."""
    if isinstance(wrong, SyntaxError) and wrong.filename:
        return f"{near(wrong.filename)}:{wrong.lineno}: " if wrong.lineno else f"{near(wrong.filename)}: "
    frames = [frame for frame in traceback.extract_tb(wrong.__traceback__) if "importlib" not in frame.filename]
    foreign = [frame for frame in frames if not frame.filename.startswith(str(_OURS))]
    if not foreign:
        return ""
    beside = str(Path(foreign[0].filename).parent)
    own = [f for f in foreign if f.filename.startswith(beside) or not f.filename.startswith(INSTALLED)]
    return f"{near(own[-1].filename)}:{own[-1].lineno}: "


def _first_line(wrong: BaseException) -> str:
    try:
        text = wrong.msg if isinstance(wrong, SyntaxError) else str(wrong)
    except Exception:  # an exception's text can fail, too
        text = ""
    return next(iter(text.strip().splitlines()), "")


def near(path: str) -> str:
    """The path relative to the working directory, if it is below."""
    here = os.path.relpath(path)
    return path if here.startswith("..") else here
