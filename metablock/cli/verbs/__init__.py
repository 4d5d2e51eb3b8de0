"""The verbs, one file each, in the order in which ``metablock --help`` lists them.

A verb is a function with ``@app.command()``. What it needs beyond its options is imported when it runs. A process that runs one
verb imports the file of that one alone.
"""

from __future__ import annotations

import importlib

VERBS = (
    "check", "build", "show", "explain", "diff", "list", "new", "fmt", "schema", "probe", "search", "ablate", "train", "report",
    "work", "table", "ops", "weights",
)  # fmt: skip


def register(word: str | None = None) -> None:
    """Gives the application the verb that a command line begins with; all of them where the word is no verb.

    >>> register("check")
    """
    for verb in [word] if word in VERBS else VERBS:
        importlib.import_module(f"{__name__}.{verb}")


__all__ = ["VERBS", "register"]
