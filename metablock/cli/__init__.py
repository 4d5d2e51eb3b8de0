"""The command line. It reads options, asks :mod:`metablock.report`, and prints the answer; it decides nothing.

A verb is a file in ``verbs/``; ``app`` is the application they belong to. Bad input ends with status 2 and its text on standard
error, Ctrl-C with 130, a closed pipe silently with 1. What a verb needs is imported when it runs: ``metablock check`` on a spec
with wrong names imports neither torch nor pydantic.
"""

import os
import sys

from . import verbs as verbs
from .app import app

__all__ = ["app", "main"]


def main() -> None:
    """The console entry. A closed stream reads nothing and swallows what is written; characters that it lacks are escaped."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (until the process ends)
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="metablock")
