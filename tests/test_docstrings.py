"""The examples in the docstrings of every module run and print what they say; users' entry points have one."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import metablock
from metablock.lowering.example import shape_of

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for path in (ROOT / "metablock").rglob("*.py") if path.stem != "__main__" and "_data" not in path.parts)
# What the examples of composite operators use without importing it.
GLOBALS = {"shape_of": shape_of}

# Entry points for users: each has at least one example.
PUBLIC = (
    "FeatureInfo", "compile", "early_exit", "export", "features", "load_weights", "reparameterize", "resolved", "standalone",
    "write",
)  # fmt: skip
OTHERS = ("backend.costs.macs", "backend.costs.parameters", "backend.init.initialiser", "weights.export_names.export_state")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(name: str) -> ModuleType:
    """A module; a bridge is named after the package that it needs."""
    room, package, *_ = [*name.removeprefix("metablock.").split("."), "", ""]
    if room == "bridges" and package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return importlib.import_module(name)


def run(module: ModuleType) -> doctest.TestResults:
    return doctest.testmod(module, report=True, extraglobs=GLOBALS)


@pytest.mark.parametrize("name", [name_of(path) for path in FILES])
def test_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(imported(name))
    assert not result.failed, capsys.readouterr().out
    if name.startswith("metablock.operators.") and not name.startswith("metablock.operators.rules."):
        assert result.attempted > 0, "no example"


@pytest.mark.parametrize("name", [*PUBLIC, *OTHERS])
def test_public_functions_have_an_example(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    holder = importlib.import_module(f"metablock.{module}") if module else metablock
    assert doctest.DocTestFinder(recurse=False).find(getattr(holder, attribute), name)[0].examples


def test_a_wrong_example_is_seen() -> None:
    module = ModuleType("wrong", ">>> 1 + 1\n3\n")
    assert run(module).failed == 1
