"""The texts that are changed: small networks that use every operator, and those of the catalogue at small widths."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cases import ONE, SPECS, shrunk

from metablock.front import resolved, sized
from metablock.language.check import check_names
from metablock.language.format import show_spec
from metablock.language.load import load_text
from metablock.language.spec import Spec

FOLDER = Path(__file__).parent / "bases"
SMALL = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml"))}
CATALOGUE = dict(ONE[::-1])  # one variant of each file


@cache
def catalogue_text(name: str) -> str:
    """The canonical text of one network of the catalogue, quick to run, without the bindings that only other variants use."""
    sizes = shrunk(name, CATALOGUE[name])
    spec = sized(resolved(SPECS[name], variant=CATALOGUE[name], edits=sizes["edits"], classes=7), input=sizes["input"])
    spec = spec.with_(variant=None, places={})
    while problems := check_names(load_text(show_spec(spec))):
        idle = {problem.message.split("'")[1] for problem in problems}
        spec = _without(spec, idle)
    return show_spec(spec)


def _without(spec: Spec, names: set[str]) -> Spec:
    tables = {field: {k: v for k, v in table.items() if k not in names} for field, table in spec.binding_tables().items()}
    if all(len(tables[field]) == len(table) for field, table in spec.binding_tables().items()):
        raise AssertionError(f"the base '{spec.name}' has other problems than unused names {names}")
    return spec.with_(**tables)
