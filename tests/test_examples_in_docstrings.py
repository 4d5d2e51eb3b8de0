"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOMS = ("operators",)  # folders of metablock/ whose docstrings have examples

PACKAGE = Path(__file__).resolve().parent.parent / "metablock"
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for room in ROOMS
    for path in sorted((PACKAGE / room).rglob("*.py"))
    if path.stem != "__init__"
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    tested = doctest.testmod(importlib.import_module(name))
    assert tested.attempted > 0, "no example"
    assert tested.failed == 0


@pytest.mark.parametrize("path", sorted((PACKAGE / "operators").glob("*.py")), ids=lambda path: path.stem)
def test_every_operator_has_an_example(path: Path) -> None:
    """Every class that a spec or a form can call, that is, that says which layouts it takes."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and any(
            isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == "takes" for s in node.body
        ):
            doc = ast.get_docstring(node) or ""
            summary = doc.partition("\n\n")[0]
            assert ">>> " in doc and ">>>" not in summary, node.name
            assert "\n" not in summary and summary.endswith((".", ":")), f"{node.name}: one line says what it is"
