"""Custom operators, from other packages: declared in Python; a spec never names code.

:func:`operator` declares a class as an operator. A package announces its classes through entry points of the group
``metablock.operators`` (``gated_pool = "my_package.mixers:GatedPool"``); a single file is loaded with ``--plugin`` or
:func:`load_plugin`. An installed package is imported only when a spec uses one of its names.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import MetablockError, Span, SpecError, Text, error, suggest
from ..shape import LAYOUTS
from .choices import NAME as ONE_OF
from .importing import guarded, import_source, near
from .inputs import FIRST_KINDS
from .loaded import loaded_source, note_sources
from .registry import OPERATORS, Operator, Param, Schema
from .standard import BUILTIN, NUMERIC, standard

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "metablock.operators"
CONTEXT = ("c", "grid", "rank", "prefix", "n", "layout")
TYPES = ("int", "float", "bool", "str", "list[int]", "None")
ROLES = ("matrix", "bias", "norm", "scale", "table", "token", "unused", "vector")  # of parameters: metablock.backend.roles

T = TypeVar("T", bound=type)


class Installed(Operator):
    """An operator that a package's entry point names; asking for its signature imports the package."""

    @property
    def schema(self) -> Schema:
        declared: Operator = declaration(self.load())
        return declared.schema

    def load(self) -> Any:
        cls = guarded(lambda: getattr(importlib.import_module(self.module), self.attribute), f"the operator '{self.name}'")
        declared = declaration(cls)
        if declared is None or declared.name != self.name:
            called = f"is called '{declared.name}' there" if declared else "is no operator there"
            hint = f"the entry point and `@metablock.operator` must agree: {self.module}:{self.attribute}"
            raise MetablockError(f"the operator '{self.name}' {called}", hint)
        return cls


def operator(cls: T | None = None, *, name: str | None = None) -> Any:
    """Declares a class as an operator of the language: ``@metablock.operator``, or ``@metablock.operator(name="...")``.

    The class is an ``nn.Module`` that follows the protocol of :mod:`metablock.operators`. ``takes`` lists the layouts it accepts.
    The compiler supplies the positional parameters of ``__init__`` (``c``, ``grid``, ``rank``, ``prefix``, ``n``, ``layout``).
    The keyword-only ones are the arguments in a spec, annotated with unions of ``int``, ``float``, ``bool``, ``str``,
    ``list[int]`` and ``None``. A static ``shape(x, *, ...)`` gives the output's shape where it differs from the input's.
    ``roles`` says what its parameters are, ``{"weight": "table"}`` (:func:`metablock.roles`).

    Args:
        cls: the class, at the top of its module.
        name: what specs call it; by default the class's name in ``snake_case``.

    Returns:
        The class, unchanged.

    Raises:
        SpecError: the name is taken, the docstring or an annotation is missing, or the class breaks the protocol; with the place
            in the class's file.

    >>> import torch
    >>> class Half(torch.nn.Module):
    ...     \"\"\"Half of its input, of any layout and shape.\"\"\"
    ...     takes = ("map", "grid", "tokens", "vector")
    ...     def forward(self, x: torch.Tensor) -> torch.Tensor:
    ...         return x / 2
    >>> Half = operator(Half, name="half_of_it")
    >>> OPERATORS["half_of_it"].schema.doc
    'Half of its input, of any layout and shape.'
    >>> del OPERATORS["half_of_it"]
    """

    def declare(cls: T) -> T:
        schema = _schema(cls)
        word = _snake(cls.__name__) if name is None else name
        declared = Operator(word, cls.__module__, cls.__qualname__, True, declared=schema)
        _check_name(declared, cls)
        OPERATORS[declared.name] = declared
        cls.metablock_operator = declared  # type: ignore[attr-defined]
        loaded_source(cls.__module__)
        note_sources()
        return cls

    return declare if cls is None else declare(cls)


def declaration(cls: Any) -> Any:
    """The operator that a class is declared as, or None."""
    declared = getattr(cls, "__dict__", {}).get("metablock_operator")
    return declared if isinstance(declared, Operator) else None


def load_plugin(source: str) -> list[str]:
    """Imports a module that declares operators: it runs the module's code.

    Args:
        source: the module's dotted name, or the path of its file.

    Returns:
        The names of the operators that it, or a module it imports, declares, sorted.

    Raises:
        MetablockError: there is no such module, it fails, or it declares no operator.

    >>> load_plugin("json")
    Traceback (most recent call last):
        ...
    metablock.errors.MetablockError: the plugin 'json' declares no operator
      write `@metablock.operator` above its class
    """
    before = set(OPERATORS)
    module = guarded(lambda: import_source(source), f"the plugin '{source}'")
    note_sources()
    own = [declared.name for value in vars(module).values() if (declared := declaration(value))]
    added = sorted({*own, *(set(OPERATORS) - before)})
    if not added:
        raise MetablockError(f"the plugin '{source}' declares no operator", "write `@metablock.operator` above its class")
    return added


@cache
def installed() -> None:
    """Adds the operators that installed packages announce, without importing the packages.

    Raises MetablockError for a name that is taken, or an entry point that names no class.

    >>> installed()
    """
    if not announced(sys.path):
        return
    from importlib.metadata import entry_points

    seen: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        module, _, attribute = point.value.partition(":")
        known = OPERATORS.get(point.name)
        if known is not None and (known.module, known.attribute) == (module.strip(), attribute.strip()):
            continue  # its module is imported already
        taken = _taken(point.name) or (f"{_owner(seen[point.name])} has it" if point.name in seen else None)
        if taken is not None:
            hint = "rename it there, or uninstall the package"
            raise MetablockError(f"{_owner(point)} brings an operator '{point.name}', but {taken}", hint)
        if not attribute or not _NAME.fullmatch(point.name):
            line = f"{point.name} = {point.value}"
            raise MetablockError(f"{_owner(point)} has a bad entry point: {line}", 'name = "module:Class"')
        seen[point.name] = point
    for name, point in seen.items():
        module, _, attribute = point.value.partition(":")
        OPERATORS[name] = Installed(name, module.strip(), attribute.strip(), leaf=True)


def announced(path: Sequence[str]) -> bool:
    """Whether a package on a search path may announce operators. Reads texts: ``importlib.metadata`` takes longer to import.

    >>> announced(["/a/folder/that/is/not/there"])
    False
    """
    finders = [finder for finder in sys.meta_path if finder is not PathFinder]
    return any(hasattr(finder, "find_distributions") for finder in finders) or any(map(_announces, path))


def _announces(folder: str) -> bool:
    """Whether a package in a folder may announce operators; in a file, or as an egg, it may."""
    try:
        names = os.listdir(folder or os.curdir)
    except OSError:
        return os.path.isfile(folder)
    for name in names:
        if name.endswith(".egg"):
            return True
        if name.endswith((".dist-info", ".egg-info")):
            with suppress(OSError), open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:
                if GROUP.encode() in file.read():
                    return True
    return False


def _owner(point: EntryPoint) -> str:
    return f"the package '{point.dist.name}'" if point.dist else "a package"


# What a class must have

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _taken(name: str) -> str | None:
    known = OPERATORS.get(name)
    if known is not None:
        return f"{known.module}:{known.attribute} has it"
    if name in standard():
        return "a standard binding has it"
    return "it is a word of the language" if name in {*BUILTIN, *NUMERIC, *FIRST_KINDS, ONE_OF} else None


def _check_name(declared: Operator, cls: type) -> None:
    name = declared.name
    known = OPERATORS.get(name)
    again = known is not None and known.module == declared.module  # its module is reloaded, or its entry point was read before
    if known is not None and again and (isinstance(known, Installed) or known.attribute == declared.attribute):
        return
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise error(f"'{name}' is no name for an operator", _place(cls), "lower-case letters, digits, underscores: gated_pool")
    if taken := _taken(name):
        raise error(f"the operator name '{name}' is taken: {taken}", _place(cls), '@metablock.operator(name="...")')


def _schema(cls: type) -> Schema:
    from torch import nn

    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise error(f"'{getattr(cls, '__name__', cls)}' is no nn.Module", _place(cls), "an operator is a class with a forward")
    if "." in cls.__qualname__:
        raise error(f"'{cls.__name__}' stands inside a function or class", _place(cls), "define it at the top of its module")
    text = cls.__dict__.get("__doc__")
    doc = inspect.cleandoc(text) if isinstance(text, str) else ""
    if not doc:
        raise error(f"the operator '{cls.__name__}' has no docstring", _place(cls), "say what comes in and goes out, with shapes")
    takes = getattr(cls, "takes", None)
    if not isinstance(takes, tuple) or not takes or not all(layout in LAYOUTS for layout in takes):
        hint = f'for instance takes = ("map",); the layouts are {", ".join(LAYOUTS)}'
        raise error(f"the operator '{cls.__name__}' does not say what it `takes`", _place(cls), hint)
    if cls.forward is nn.Module.forward:
        raise error(f"the operator '{cls.__name__}' has no `forward`", _place(cls), "it takes the value that arrives")
    _check_roles(cls)
    params, context = [], []
    signature = _signature(cls, "__init__")
    for name, parameter in list(signature.parameters.items())[1:]:
        at = _place(cls, name)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise error(f"'{stars}{name}' cannot be given from a spec", at, "name each argument")
        if parameter.kind is parameter.KEYWORD_ONLY:
            params.append(Param(name, _types(parameter, at), ... if parameter.default is parameter.empty else parameter.default))
        elif name in CONTEXT:
            context.append(name)
        else:
            hint = f"arguments of a spec stand behind `*`; before it the compiler gives {', '.join(CONTEXT)}"
            raise error(f"the compiler has no '{name}' to give", at, hint)
    _check_shape(cls, {param.name for param in params})
    return Schema(tuple(params), None, tuple(context), doc)


def _signature(cls: type, name: str) -> inspect.Signature:
    """The parameters of a method that a class defines itself; of ``__init__``, ``self`` too."""
    method: Any = cls.__dict__.get(name)
    function = method.__func__ if isinstance(method, staticmethod) else method
    if method is None:
        return inspect.Signature()
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise error(f"`{name}` of '{cls.__name__}' is no function", _place(cls, name), f"def {name}(...)") from None
    if not any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in signature.parameters.values()):
        first = "self" if name == "__init__" else "x"
        raise error(f"`{name}` of '{cls.__name__}' takes no '{first}'", _place(cls, name), f"def {name}({first}, ...)")
    return signature


def _check_roles(cls: type) -> None:
    declared = getattr(cls, "roles", {})
    if not isinstance(declared, dict) or not all(isinstance(role, str) for role in declared.values()):
        hint = 'the name of each parameter, and what it is: roles = {"weight": "table"}'
        raise error(f"`roles` of '{cls.__name__}' is no dict of words", _place(cls, "roles"), hint)
    if unknown := [role for role in declared.values() if role not in ROLES]:
        near = suggest(unknown[0], ROLES, f"known: {', '.join(ROLES)}")
        raise error(f"'{unknown[0]}' is no role of a parameter of '{cls.__name__}'", _place(cls, "roles"), near)


def _types(parameter: inspect.Parameter, at: Span | None) -> tuple[str, ...]:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        raise error(f"the parameter '{parameter.name}' has no annotation", at, f"{', '.join(TYPES)}, or some of them with `|`")
    text = annotation if isinstance(annotation, str) else annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = str(annotation) if text == "list" and annotation is not list else text
    kinds = tuple(part.strip().replace("NoneType", "None") for part in text.split("|"))
    if unknown := [kind for kind in kinds if kind not in TYPES]:
        hint = f"known: {', '.join(TYPES)}, or some of them with `|`"
        raise error(f"a spec has no values of type '{unknown[0]}' for '{parameter.name}'", at, hint)
    return kinds


def _check_shape(cls: type, params: set[str]) -> None:
    rule = cls.__dict__.get("shape")
    if rule is None:
        return
    if not isinstance(rule, staticmethod):
        raise error(f"`shape` of '{cls.__name__}' is not static", _place(cls, "shape"), "write @staticmethod above it")
    wanted = [p for p in _signature(cls, "shape").parameters.values() if p.kind is p.KEYWORD_ONLY]
    for parameter in wanted:
        if parameter.name not in params:
            hint = f"arguments: {', '.join(sorted(params)) or 'none'}"
            raise error(f"`shape` wants '{parameter.name}', which `__init__` does not take", _place(cls, parameter.name), hint)


def _place(cls: Any, name: str | None = None) -> Span | None:
    """The place of a class, or of one of its parameters or methods, in its file; None if there is no file (a notebook)."""
    file = getattr(sys.modules.get(getattr(cls, "__module__", "")), "__file__", None)
    try:
        content = Path(file or "").read_text(encoding="utf-8")
        tree = ast.parse(content)
    except (OSError, SyntaxError, ValueError):
        return None
    outer = next((n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls.__name__), None)
    if outer is None:
        return None
    inner = next((n for n in ast.walk(outer) if name and name in (getattr(n, "arg", None), getattr(n, "name", None))), None)
    at: Any = inner or outer
    text = Text(near(str(file)), content)
    start = sum(len(line) + 1 for line in content.split("\n")[: at.lineno - 1]) + at.col_offset
    first = content.split("\n")[at.lineno - 1][at.col_offset :]
    return Span(text, start, start + len(name if inner and isinstance(inner, ast.arg) and name else first))


__all__ = ["CONTEXT", "GROUP", "ROLES", "TYPES", "SpecError", "installed", "load_plugin", "operator"]
