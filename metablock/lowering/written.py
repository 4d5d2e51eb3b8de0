"""Calls of operators as a person would write them: the texts of modules."""

from __future__ import annotations

from typing import Any

from ..language.printer import number
from ..language.registry import Operator


def written(entry: Operator, args: dict[str, Any]) -> str:
    """A call as a person would write it, without the arguments that have their default.

    Args:
        entry: the operator.
        args: all its arguments, by name.

    >>> from metablock.language.registry import OPERATORS
    >>> conv = OPERATORS["conv"]
    >>> args = {param.name: param.default for param in conv.schema.params}
    >>> written(conv, {**args, "out": 64, "kernel": 7, "stride": 4})
    'conv(64, 7, stride=4)'
    """
    parts, positional = [], True
    for place, param in enumerate(entry.schema.params):
        positional = positional and place < 2
        value = args[param.name]
        if value == param.default and not param.required:
            positional = False
            continue
        text = _word(value)
        parts.append(text if positional else f"{param.name}={text}")
    return f"{entry.name}({', '.join(parts)})" if parts else entry.name


def _word(value: Any) -> str:
    """An argument as a spec has it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, float):
        value = float(f"{value:.6g}")
    return number(value) if isinstance(value, (int, float)) else f'"{value}"' if isinstance(value, str) else str(value)
