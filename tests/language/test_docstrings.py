"""What other rooms call of the language and the catalogue has an example in its docstring."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import metablock

PACKAGE = Path(metablock.__file__).parent
ROOMS = ("errors", "files", "shape", "language", "catalogue")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def imported() -> Iterator[tuple[str, str]]:
    """Module and name of what other rooms import from these."""
    for path in FILES:
        if room(path) in ROOMS:
            continue
        package = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                module = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
                if len(module.split(".")) > 1 and module.split(".")[1] in ROOMS:
                    yield from ((module, alias.name) for alias in node.names)


def value_of(module: str, name: str) -> object:
    return inspect.unwrap(getattr(importlib.import_module(module), name, None))


DOORS = sorted({door for door in imported() if inspect.isfunction(value_of(*door)) or inspect.isclass(value_of(*door))})


def test_the_doors_are_seen() -> None:
    assert {("metablock.language.edits", "resolve"), ("metablock.errors", "error"), ("metablock.shape", "Feature")} <= set(DOORS)


@pytest.mark.parametrize(("module", "name"), DOORS)
def test_what_other_rooms_call_has_an_example(module: str, name: str) -> None:
    """Functions have one; classes, most of them records of a few fields, at least say what they are."""
    doc = inspect.getdoc(value_of(module, name)) or ""
    assert doc
    assert ">>> " in doc or inspect.isclass(value_of(module, name))
