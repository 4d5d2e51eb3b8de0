"""The command line. It reads options, asks :mod:`metablock.report`, and prints the answer; it decides nothing.

A verb is a file in ``verbs/``; ``app`` is the application with all of them. Bad input ends with status 2 and its text on standard
error, Ctrl-C with 130, a closed pipe silently with 1. What a verb needs is imported when it runs: ``metablock check`` on a spec
imports neither torch nor pydantic, nor any other verb.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def main() -> None:
    """The console entry. A closed stream reads nothing and swallows what is written; characters that it lacks are escaped."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (until the process ends)
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")
    from .application import app
    from .verbs import register

    register(_first_word())
    app(prog_name="metablock")


def _first_word() -> str | None:
    """The first word behind the command, where it is whole: of the process, or of the line that a shell completes."""
    if "_METABLOCK_COMPLETE" not in os.environ:
        return next(iter(sys.argv[1:]), None)
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    words = line.split()
    return words[1] if len(words) > 2 or (len(words) == 2 and line[-1:].isspace()) else None


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'metablock.cli' has no attribute '{name}'")
    from .application import app
    from .verbs import register

    register()
    return app
