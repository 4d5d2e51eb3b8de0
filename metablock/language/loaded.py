"""The source of modules as it was when they were imported: their files may be edited while a process runs."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any

_OWN = __name__.partition(".")[0]
# The folders of Python's library and of installed packages.
INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})
# By name: what tells one import of a module from the next, and the source.
_sources: dict[str, tuple[Any, bytes]] = {}


def loaded_source(name: str) -> bytes | None:
    """The source of an imported module, as it was when it was first asked for after the import.

    Returns:
        None for a module that is not imported, or that has no file.

    >>> loaded_source("metablock.shape").startswith(b'"')
    True
    >>> loaded_source("nowhere") is None
    True
    """
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or not file:
        return None
    which = getattr(module, "__spec__", None) or module  # a module that is reloaded has another spec
    known = _sources.get(name)
    if known is None or known[0] is not which:
        try:
            known = _sources[name] = (which, Path(file).read_bytes())
        except OSError:
            return None
    return known[1]


def note_sources() -> None:
    """Keeps the source of every imported module outside metablock and the installed packages, where it is not kept yet."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name.partition(".")[0] != _OWN and file.endswith(".py") and not file.startswith(INSTALLED):
            loaded_source(name)
