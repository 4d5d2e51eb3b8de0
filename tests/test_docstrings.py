"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import metablock

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("backend", "passes", "weights", "writers")
FILES = [ROOT / "metablock" / "api.py", ROOT / "metablock" / "front.py"]
FILES += sorted(path for room in ROOMS for path in (ROOT / "metablock" / room).rglob("*.py"))

# Entry points for users: each has at least one example.
PUBLIC = (
    "FeatureInfo", "compile", "early_exit", "export", "features", "load_weights", "reparameterize", "resolved", "standalone",
    "write",
)  # fmt: skip
OTHERS = ("backend.costs.macs", "backend.costs.parameters", "backend.init.initialiser", "weights.export_names.export_state")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def run(module: ModuleType) -> doctest.TestResults:
    return doctest.testmod(module, report=True)


@pytest.mark.parametrize("name", [name_of(path) for path in FILES])
def test_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(importlib.import_module(name))
    assert not result.failed, capsys.readouterr().out


@pytest.mark.parametrize("name", [*PUBLIC, *OTHERS])
def test_public_functions_have_an_example(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    holder = importlib.import_module(f"metablock.{module}") if module else metablock
    assert doctest.DocTestFinder(recurse=False).find(getattr(holder, attribute), name)[0].examples


def test_a_wrong_example_is_seen() -> None:
    module = ModuleType("wrong", ">>> 1 + 1\n3\n")
    assert run(module).failed == 1
