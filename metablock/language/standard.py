"""The standard library of bindings (``grammars/standard.yaml``) and the words of the language itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from .arithmetic import FUNCTIONS
from .load import load_bindings
from .resources import resource
from .spec import Binding

# Values that the compiler supplies. No binding may have their names.
BUILTIN = ("c", "classes", "index", "layer", "layers", "stage", "part", "grid", "id", "none", "true", "false")
# Values that the compiler supplies where no binding has their name: they are looked up last.
LATE = ("w",)
# Functions on numbers (`sum` also adds wires, `range` feeds comprehensions).
NUMERIC = tuple(FUNCTIONS)
LIBRARY = "standard.yaml"


@cache
def standard() -> Mapping[str, Binding]:
    """The standard bindings by name.

    >>> {"mlp", "dw", "attention"} & set(standard()) == {"mlp", "dw"}
    True
    """
    return load_bindings(resource(LIBRARY), LIBRARY)
