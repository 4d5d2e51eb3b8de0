"""metablock: a small declarative language for neural backbones and its compiler.

>>> import metablock
>>> model = metablock.build("poolformer_s12", edits=["token = attention(dim // 32)"], device="meta")

Importing metablock imports no torch, nor do the language's own names (``load_text``, ``Spec``, ``MetablockError``); the others
import it when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import build
    from .backend.compiler import compile
    from .backend.objective import losses, update_averages
    from .backend.roles import roles
    from .errors import MetablockError, SpecError
    from .front import resolved
    from .language.load import load_text
    from .language.plugins import load_plugin, operator
    from .language.spec import Spec
    from .passes.early_exit import early_exit
    from .passes.features import FeatureInfo, features
    from .passes.reparameterize import reparameterize
    from .report.diff import diff
    from .weights.loading import load_weights
    from .writers.outputs import write
    from .writers.standalone import standalone
    from .writers.torch_export import export

__version__ = "0.1.0"
# The module, below this package, that each public name is imported from when it is first used.
_HOME = {
    "FeatureInfo": "passes.features",
    "MetablockError": "errors",
    "Spec": "language.spec",
    "SpecError": "errors",
    "build": "api",
    "compile": "backend.compiler",
    "diff": "report.diff",
    "early_exit": "passes.early_exit",
    "export": "writers.torch_export",
    "features": "passes.features",
    "load_plugin": "language.plugins",
    "load_text": "language.load",
    "load_weights": "weights.loading",
    "losses": "backend.objective",
    "operator": "language.plugins",
    "reparameterize": "passes.reparameterize",
    "resolved": "front",
    "roles": "backend.roles",
    "standalone": "writers.standalone",
    "update_averages": "backend.objective",
    "write": "writers.outputs",
}
__all__ = [
    "FeatureInfo",
    "MetablockError",
    "Spec",
    "SpecError",
    "build",
    "compile",
    "diff",
    "early_exit",
    "export",
    "features",
    "load_plugin",
    "load_text",
    "load_weights",
    "losses",
    "operator",
    "reparameterize",
    "resolved",
    "roles",
    "standalone",
    "update_averages",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'metablock' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__", "__name__", "__version__"])
