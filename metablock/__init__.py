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
    from .exits import early_exit
    from .exporter import export
    from .outputs import write
    from .plain import standalone
    from .plugins import load_plugin, operator
    from .taps import FeatureInfo, features
    from .weights import load_weights

__version__ = "0.1.0"
_HOME = {
    "FeatureInfo": "taps",
    "MetablockError": "errors",
    "SpecError": "errors",
    "build": "api",
    "compile": "compiler",
    "early_exit": "exits",
    "export": "exporter",
    "features": "taps",
    "load_plugin": "plugins",
    "load_weights": "weights",
    "operator": "plugins",
    "reparameterize": "collapse",
    "resolved": "api",
    "standalone": "plain",
    "write": "outputs",
}
__all__ = [
    "FeatureInfo",
    "MetablockError",
    "SpecError",
    "build",
    "compile",
    "early_exit",
    "export",
    "features",
    "load_plugin",
    "load_weights",
    "operator",
    "reparameterize",
    "resolved",
    "standalone",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'metablock' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
