"""metablock: a small declarative language for neural backbones and its compiler.

>>> import metablock
>>> model = metablock.build("poolformer_s12", edits=["token = attention(dim // 32)"])

The language itself (parsing, printing, checking names) needs no torch; the names below bring it when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import build, resolved
    from .collapse import reparameterize
    from .compiler import compile
    from .errors import MetablockError, SpecError
    from .exporter import export
    from .outputs import write
    from .plain import standalone
    from .weights import load_weights

__version__ = "0.1.0"
_HOME = {
    "MetablockError": "errors",
    "SpecError": "errors",
    "build": "api",
    "compile": "compiler",
    "export": "exporter",
    "load_weights": "weights",
    "reparameterize": "collapse",
    "resolved": "api",
    "standalone": "plain",
    "write": "outputs",
}
__all__ = [
    "MetablockError",
    "SpecError",
    "build",
    "compile",
    "export",
    "load_weights",
    "reparameterize",
    "resolved",
    "standalone",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'metablock' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
