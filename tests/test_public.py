"""The front door: ``import metablock``."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

import metablock


def test_the_public_names_are_seen() -> None:
    """By ``dir`` and so by tab completion, also before they are used."""
    code = "import metablock; print(*dir(metablock))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in shown if not name.startswith("_")] == metablock.__all__
    assert "__version__" in shown
    assert metablock.__all__ == sorted(metablock._HOME)


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, metablock; dir(metablock); metablock.load_text; metablock.Spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", metablock.__all__)
def test_each_name_is_there(name: str) -> None:
    value = getattr(metablock, name)
    assert callable(value)
    assert value.__doc__


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'metablock' has no attribute 'bild'"):
        metablock.bild  # noqa: B018


def test_its_example_runs() -> None:
    assert doctest.testmod(metablock).failed == 0


def test_a_text_is_built() -> None:
    spec = metablock.load_text("name: tiny\ninput: image(3, 16)\nmodel: conv(8, 3) >> global_pool >> linear(classes)\n", "mine")
    assert isinstance(spec, metablock.Spec)
    model = metablock.build(spec, classes=4)
    assert [tuple(p.shape) for p in model.parameters()] == [(8, 3, 3, 3), (8,), (4, 8), (4,)]
    with pytest.raises(metablock.SpecError, match=r"^mine:2:1: a ':' is missing"):
        metablock.load_text("name: tiny\ninput\n", "mine")


def test_a_text_is_no_path() -> None:
    with pytest.raises(
        metablock.MetablockError, match=r"is the text of a file, not its path\n  read it first: metablock\.load_text"
    ):
        metablock.build("name: net\ninput: image(3, 8)\nmodel: relu\n")
