"""Every operator that a spec or a composite operator can call has an example in its docstring."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

OPERATORS = Path(__file__).resolve().parents[2] / "metablock" / "operators"


@pytest.mark.parametrize("path", sorted(OPERATORS.glob("*.py")), ids=lambda path: path.stem)
def test_every_operator_has_an_example(path: Path) -> None:
    """Every class that a spec or a form can call, that is, that has a rule."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and f"{node.name}Rule" in map(ast.unparse, node.bases):
            doc = ast.get_docstring(node) or ""
            summary = doc.partition("\n\n")[0]
            assert ">>> " in doc and ">>>" not in summary, node.name
            assert "\n" not in summary and summary.endswith((".", ":")), f"{node.name}: one line says what it is"
