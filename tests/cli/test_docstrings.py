"""What others call of reports and bridges has a docstring."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

import pytest

import metablock.bridges
import metablock.cli
import metablock.report

MODULES = sorted(
    module.name
    for package in (metablock.report, metablock.cli, metablock.bridges)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


def imported(name: str):
    """A module; a bridge is named after the package that it needs."""
    _, room, *_, last = name.split(".")
    if room == "bridges" and importlib.util.find_spec(last) is None:
        pytest.skip(f"{last} is not installed")
    return importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(("metablock.report.", "metablock.bridges."))])
def test_what_others_call_has_a_docstring(name: str):
    """Of a report or bridge: every public function and class, and every public method of a bridge's class."""
    module = imported(name)
    public = {key: value for key, value in vars(module).items() if not key.startswith("_") and callable(value)}
    own = {key: value for key, value in public.items() if getattr(value, "__module__", "") == name}
    methods = {
        f"{key}.{method}": value
        for key, owner in own.items()
        if isinstance(owner, type)
        for method, value in vars(owner).items()
        if not method.startswith("_") and callable(value)
    }
    assert [key for key, value in {**own, **methods}.items() if not (value.__doc__ or "").strip()] == []
