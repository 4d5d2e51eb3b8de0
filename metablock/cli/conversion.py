"""Values of the command line become those of Python.

typer converts every value through pydantic, texts and defaults too, and importing pydantic takes as long as checking a spec. Here
texts, and what is not given, stay as they are.
"""

from __future__ import annotations

from enum import Enum
from typing import Any


def spare_conversion(*params: Any) -> None:
    """Makes parameters of typer convert only what is given and no text. A typer that converts otherwise is left alone.

    >>> import typer
    >>> from typer.main import get_command
    >>> app = typer.Typer()
    >>> @app.command()
    ... def double(number: int = 1) -> None: ...
    >>> spare_conversion(*get_command(app).params)
    """
    for param in params:
        if hasattr(param, "get_runtime_param") and getattr(param, "_runtime_param", ...) is None:
            param._runtime_param = _Sparing(param)


class _Sparing:
    """Stands where typer keeps what converts a parameter's values."""

    def __init__(self, param: Any):
        self.kind = param.type_descriptor.annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if several and self.kind == list[str] and isinstance(value, (list, tuple)) and all(type(item) is str for item in value):
            return list(value)
        if isinstance(self.kind, type) and isinstance(value, self.kind) and not several:
            return value
        if isinstance(self.kind, type) and issubclass(self.kind, Enum) and value in (member.value for member in self.kind):
            return self.kind(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
