"""The verbs, one file each, imported in the order in which ``metablock --help`` lists them.

A verb is a function with ``@app.command()``. What it needs beyond its options is imported when it runs.
"""

from . import check, build, show, explain, diff, list, new, fmt, schema  # noqa: I001 (the order of --help)
from . import probe, search, ablate, train, report, work
from . import table, ops, weights

__all__ = [
    "ablate",
    "build",
    "check",
    "diff",
    "explain",
    "fmt",
    "list",
    "new",
    "ops",
    "probe",
    "report",
    "schema",
    "search",
    "show",
    "table",
    "train",
    "weights",
    "work",
]
