"""Every operator keeps to the protocol of ``metablock/operators/__init__.py``, read mostly without importing."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

import pytest

from leaves import CASES, FOLDER, find
from metablock.language.registry import rule_of

CONTEXT = {"c", "grid", "rank", "prefix", "n", "layout", "padding_id"}
TYPES = {"int", "float", "bool", "str", "None", "list[int]", "list[float]", "list[str]"}


def operators() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every public class with a ``forward``."""
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and module(node):
                yield f"{path.stem}.{node.name}", node


def module(node: ast.ClassDef) -> bool:
    ruled = f"{node.name}Rule" in map(ast.unparse, node.bases)
    return any(isinstance(s, ast.FunctionDef) and s.name == "forward" for s in node.body) or ruled


FOUND = dict(operators())


def signature(node: ast.ClassDef) -> ast.arguments | None:
    return next((s.args for s in node.body if isinstance(s, ast.FunctionDef) and s.name in ("__init__", "__new__")), None)


def types(annotation: ast.expr) -> list[str]:
    if isinstance(annotation, ast.BinOp):
        return types(annotation.left) + types(annotation.right)
    return [ast.unparse(annotation)]


def test_the_examples_name_operators() -> None:
    assert {case.name for case in CASES} <= set(FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_class(name: str) -> None:
    assert ast.get_docstring(FOUND[name]), "a docstring has the formula, the shapes and the arguments"
    file, _, attribute = name.partition(".")
    rule, cls = rule_of(f"metablock.operators.{file}", attribute), find(name)
    assert rule.__name__ == f"{attribute}Rule", "what the compiler reads of it imports no torch"
    assert issubclass(cls, rule)
    assert not {"takes", "along", "constant", "shape", "tensors"} & vars(cls).keys(), "they stand in its rule"
    assert isinstance(rule.takes, tuple)
    assert set(rule.takes) <= {"map", "grid", "tokens", "vector", "ids"}


@pytest.mark.parametrize("name", FOUND)
def test_signature(name: str) -> None:
    arguments = signature(FOUND[name])
    if arguments is None:
        return
    assert arguments.kwarg is None
    assert arguments.vararg is None
    assert {a.arg for a in arguments.args[1:]} <= CONTEXT
    assert not arguments.defaults, "what comes from the context has no default"
    doc = ast.get_docstring(FOUND[name]) or ""
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        assert argument.annotation is not None
        assert set(types(argument.annotation)) <= TYPES
        assert default is None or ast.literal_eval(default) is not ...
        assert f"{argument.arg}: " in doc, f"'{argument.arg}' is not in the docstring"


@pytest.mark.parametrize("name", FOUND)
def test_shape(name: str) -> None:
    cls = find(name)
    if not hasattr(cls, "shape"):
        return
    assert isinstance(inspect.getattr_static(cls, "shape"), staticmethod)
    known = set(inspect.signature(cls).parameters)
    for parameter in inspect.signature(cls.shape).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert parameter.name in known
            assert parameter.default is parameter.empty, "the compiler gives every argument"
